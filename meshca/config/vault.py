"""Configuration of Vault, or OpenBao, as the upstream: where it is, who we are there, which roots count.

Secrets are files that are named here, never values. Nothing here reads one.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from meshca.config.model import FilePath, Model, PositiveDuration, at_most
from meshca.config.vault_leaves import VaultLeaves
from meshca.identity.key_type import KeyType

_PROJECTED = Path("/var/run/secrets/vault/token")  # where docs/operations/vault.md has Kubernetes put it
_HOST = r"(?:[0-9A-Za-z-]{1,63}(?:\.[0-9A-Za-z-]{1,63})*|\[[0-9a-fA-F:]+\])"
_ADDRESS = re.compile(rf"https?://{_HOST}(?::(?P<port>\d{{1,5}}))?/?")
_HOST_AND_PORT = re.compile(rf"{_HOST}:(?P<port>\d{{1,5}})")
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*/?")
_ISSUER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_LONGEST_PATH = 256
_PORTS = range(1, 65536)
SHORTEST: Final = timedelta(minutes=1)  # VB3: an issuer that truncates can give what is as good as over


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match["port"] or 443) not in _PORTS:
        raise ValueError(
            "expected https://host or https://host:port without a path, such as https://vault.example.org:8200"
        )
    return value.rstrip("/")


def _host_and_port(value: str) -> str:
    match = _HOST_AND_PORT.fullmatch(value)
    if match is None or int(match["port"]) not in _PORTS:
        raise ValueError("expected host:port without a scheme, such as vault-1.example.org:8200")
    return value


def _path(value: str) -> str:
    if len(value) > _LONGEST_PATH or not _PATH.fullmatch(value):
        raise ValueError(
            "expected a path as `vault secrets list`, `vault auth list` or `vault namespace list` shows it,"
            " such as pki or team/pki"
        )
    return value.rstrip("/")


def _issuer(value: str) -> str:
    if not _ISSUER.fullmatch(value):
        raise ValueError(
            "expected the name or id of an issuer as `vault list <mount>/issuers` shows it, or default"
        )
    return value


def _sha256(value: str) -> str:
    digest = value.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(
            "expected the SHA-256 of a certificate's DER, 64 hexadecimal digits, with or without colons"
        )
    return digest


def _signable(value: timedelta) -> timedelta:
    if value <= SHORTEST:
        raise ValueError(
            "expected more than 1m, such as 30d: an intermediate that ends in less than a minute is not taken from"
            " Vault, as its issuer may have ended"
        )
    return value


Address = Annotated[str, AfterValidator(_address)]
Fingerprint = Annotated[str, AfterValidator(_sha256)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
VaultPath = Annotated[str, AfterValidator(_path)]
IssuerRef = Annotated[str, AfterValidator(_issuer)]
Lifetime = Annotated[PositiveDuration, AfterValidator(_signable)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class VaultTokenLogin(Model):
    """A token that somebody else keeps fresh, such as an agent of Vault's.

    Attributes:
        file: holds the token; read again whenever Vault refuses the one we have.
    """

    file: FilePath


class VaultKubernetesLogin(Model):
    """The service account of our pod, with a projected token whose audience is Vault's.

    Attributes:
        role: of the login method.
        token_file: read again for each login: kubelet replaces it.
        mount: of the login method.
    """

    role: Name
    token_file: FilePath = _PROJECTED
    mount: VaultPath = "kubernetes"


class VaultAppRoleLogin(Model):
    """An AppRole.

    Attributes:
        role_id: of the role; not a secret.
        secret_id_file: holds the secret id, or, when `wrapped`, the wrapping token around one.
        wrapped: whether the file holds a wrapping token; it is spent by the first login, and what was in it is
            kept in memory until the file changes.
        mount: of the login method.
    """

    role_id: Name
    secret_id_file: FilePath
    wrapped: bool = False
    mount: VaultPath = "approle"


class VaultCertLogin(Model):
    """A TLS client certificate.

    Attributes:
        certificate_file: with its chain, PEM; read again for each login.
        key_file: its key, PEM.
        role: of the login method; any that fits when absent.
        mount: of the login method.
    """

    certificate_file: FilePath
    key_file: FilePath
    role: Name | None = None
    mount: VaultPath = "cert"


class VaultLogin(Model):
    """How we prove ourselves: by exactly one method."""

    token: VaultTokenLogin | None = None
    kubernetes: VaultKubernetesLogin | None = None
    approle: VaultAppRoleLogin | None = None
    cert: VaultCertLogin | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            told = f"not {' and '.join(given)}" if given else "none is given"
            raise ValueError(f"expected exactly one of token, kubernetes, approle and cert; {told}")
        return self

    @property
    def method(self) -> VaultTokenLogin | VaultKubernetesLogin | VaultAppRoleLogin | VaultCertLogin:
        """The one that is given."""
        found = self.token or self.kubernetes or self.approle or self.cert
        assert found is not None  # noqa: S101 - the model has exactly one
        return found


class VaultRoots(Model):
    """Which roots of the mount are trusted: pinned, or accepted because it says so.

    Attributes:
        file: PEM with the roots; read again at each look, so that a further root is pinned without a restart.
        sha256: fingerprints of the roots.
        accept: `first_use` trusts the root that the issuer has when we see it first, and no other after it; it is
            only for the first root of a mesh, as the store has it, and not for `custody: memory`;
            `any` trusts every root in the mount: whoever may write to the mount then decides whom the mesh trusts.
    """

    file: FilePath | None = None
    sha256: Annotated[tuple[Fingerprint, ...], Field(strict=False)] = ()
    accept: Literal["first_use", "any"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum((self.file is not None, bool(self.sha256), self.accept is not None)) != 1:
            raise ValueError(
                "expected exactly one of file, sha256 and accept: pin the roots by a file or by fingerprints, or"
                " say accept: first_use or accept: any"
            )
        return self


class VaultTokenCustody(Model):
    """A PKCS#11 token that makes our keys and signs with them.

    Attributes:
        module: the vendor's library.
        token: label of the token.
        pin_file: holds the user PIN; nobody else may read it.
        key_label: of our keys, which no other replica and nobody else may give to theirs: others with it are
            destroyed; `meshca-<replica>` when absent.
    """

    module: FilePath
    token: Name
    pin_file: FilePath
    key_label: Name | None = None


class VaultConfig(Model):
    """Vault or OpenBao signs our intermediate; its key never leaves us, and the root's never leaves Vault.

    Attributes:
        address: `https://host:port`; VAULT_ADDR when absent.
        allow_http: lets `address` be http, where tokens and answers can be read and changed on the way.
        namespace: of Vault Enterprise or OpenBao; VAULT_NAMESPACE when absent.
        mount: of the PKI secrets engine.
        issuer: name or id of the issuer that signs; `default` follows the mount's default.
        ca_file: roots that verify the server's TLS certificate; VAULT_CACERT, or the machine's, when absent.
        certificate_sha256: the server's TLS certificate itself, in place of `ca_file`; each renewal needs another.
        redirect_hosts: `host:port` that a standby may send us to with our token; its own host only when empty.
        timeout: of each step of one call as a whole: connecting, TLS, sending, the answer; at most 1m.
        poll: between two looks at the issuers of the mount.
        login: who we are.
        roots: which roots count.
        custody: where intermediates and their keys are kept: `file` in the data directory, `secret` in a
            Kubernetes Secret of this replica, `pkcs11` with the keys in a token, or `memory`, so that each start
            makes another.
        custody_secret: name of that Secret, in our own namespace, which no other replica has;
            `meshca-vault-<replica>` when absent, which lasts where the replica's name does, as in a StatefulSet.
        custody_seal_file: holds 32 random bytes in base64 that seal what is in the Secret.
        custody_token: the token, for `pkcs11`.
        key_type: of the intermediate.
        intermediate_lifetime: that is asked for, more than a minute; re-made at half of what was given.
        sign_leaves: has Vault sign every leaf too, by this role; we sign them when absent, which is faster and
            goes on while Vault is away.
    """

    kind: Literal["vault"]
    address: Address | None = None
    allow_http: bool = False
    namespace: VaultPath | None = None
    mount: VaultPath = "pki"
    issuer: IssuerRef = "default"
    ca_file: FilePath | None = None
    certificate_sha256: Fingerprint | None = None
    redirect_hosts: Annotated[tuple[HostAndPort, ...], Field(strict=False)] = ()
    timeout: Annotated[PositiveDuration, at_most(timedelta(minutes=1))] = timedelta(seconds=10)
    poll: PositiveDuration = timedelta(seconds=30)
    login: VaultLogin
    roots: VaultRoots
    custody: Literal["file", "secret", "pkcs11", "memory"] = "file"
    custody_secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\z")] | None = None
    custody_seal_file: FilePath | None = None
    custody_token: VaultTokenCustody | None = None
    key_type: Annotated[KeyType, Field(strict=False)] = KeyType.EC_P256
    intermediate_lifetime: Lifetime = timedelta(days=30)
    sign_leaves: VaultLeaves | None = None

    @model_validator(mode="after")
    def _https(self) -> Self:
        if self.address is not None and not self.allow_http and urlsplit(self.address).scheme != "https":
            raise ValueError(
                "address: expected https; over http anybody on the way reads our token and forges the answers."
                " Give an https address, or say allow_http: true"
            )
        return self

    @model_validator(mode="after")
    def _custody_fits(self) -> Self:
        given = [name for name in ("custody_secret", "custody_seal_file") if getattr(self, name) is not None]
        if self.custody == "memory" and self.roots.accept == "first_use":
            raise ValueError(
                "custody: memory forgets which root was the first, so roots.accept: first_use would believe any"
                " at the next start; pin the roots by roots.file or roots.sha256, or say another custody"
            )
        if given and self.custody != "secret":
            raise ValueError(
                f"{' and '.join(given)}: only for custody: secret; take it out, or say custody: secret"
            )
        if (self.custody_token is not None) != (self.custody == "pkcs11"):
            raise ValueError("custody_token and custody: pkcs11 belong together: give both, or neither")
        if self.custody_token is not None and self.key_type is KeyType.RSA:
            raise ValueError("key_type: RSA is not made in a token; say ec-p256 or ec-p384")
        return self

    @model_validator(mode="after")
    def _verified_one_way(self) -> Self:
        if self.ca_file is not None and self.certificate_sha256 is not None:
            raise ValueError("ca_file and certificate_sha256 exclude each other: give one of them")
        if self.redirect_hosts and self.certificate_sha256 is not None:
            raise ValueError(
                "redirect_hosts and certificate_sha256 exclude each other: another host has another certificate."
                " Give ca_file"
            )
        return self
