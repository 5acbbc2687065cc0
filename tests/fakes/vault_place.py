"""A Vault that is well, in memory, for checks to look at; a test changes one thing.

vault = FakeVault()
vault.health["sealed"] = True
assert await server(vault.place()) == wrong(...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshca.authority.material import certificate_id, to_pem
from meshca.config.vault import VaultConfig
from meshca.doctor.vault_place import HEALTH, VaultPlace, Visit
from meshca.errors import Unavailable
from meshca.secret import Secret
from meshca.svid.signature import hash_for
from meshca.upstream.vault.answer import Answer, read_answer
from meshca.upstream.vault.client import NOBODY, Client, Method
from meshca.upstream.vault.faults import Fault, failure
from meshca.upstream.vault.logins import Token
from meshca.upstream.vault.policy import needs
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, SIGNS_CERTIFICATES, TRUST_DOMAIN, Ca, make_ca
from tests.fakes.vault_pki import sign_leaf

OURS = Secret("hvs.ours")
TUNE, ISSUER = "sys/mounts/pki/tune", "pki/issuer/default"
PROBE = "pki/issuer/meshca-probe/json"
SIGN, RENEW = f"{ISSUER}/sign-intermediate", "auth/token/renew-self"
SIGN_LEAF = "pki/issuer/one/sign/mesh-leaf"


@dataclass
class Signature:
    """How the server signs; a test makes it do so wrongly.

    Attributes:
        ca: that signs.
        ends: at the latest.
        common_name: in place of the wanted one.
        uris: in place of the wanted one.
        dns: names that nobody asked for.
        constraints: in place of path length 0; None for none.
        chain: PEM of `ca_chain`; `NEW` stands for the new certificate.
        warnings: beside it.
    """

    ca: Ca
    ends: datetime
    common_name: str = ""
    uris: list[str] | None = None
    dns: list[str] = field(default_factory=list)
    constraints: x509.BasicConstraints | None = field(
        default_factory=lambda: x509.BasicConstraints(ca=True, path_length=0)
    )
    chain: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class FakeVault:
    """Implements what checks call of `upstream.vault.client.Client`, and a login."""

    def __init__(self, **changes: Any) -> None:
        self.clock = FakeClock()
        self.ca = make_ca("vault root")
        self.config = vault_config(sha256=certificate_id(self.ca.certificate), **changes)
        self.health: dict[str, object] = {
            "initialized": True,
            "sealed": False,
            "standby": False,
            "version": "2.7.2",
            "server_time_utc": int(NOW.timestamp()),
        }
        self.may = {need.path: [need.capability] for need in needs(self.config)}
        self.answers: dict[str, Mapping[str, object] | Unavailable] = {
            TUNE: failure(Fault.FORBIDDEN),
            ISSUER: {"data": {"usage": "read-only,issuing-certificates"}},
            f"{ISSUER}/json": self.issuer(self.ca),
            "pki/issuers?list=true": {"data": {"keys": ["one"]}},
            PROBE: failure(Fault.ISSUER),
            RENEW: {"auth": {"lease_duration": 3600}},
        }
        self.signature = Signature(ca=self.ca, ends=NOW + 3650 * DAY, chain=["NEW", self.ca.pem])
        self.token = Token(value=OURS, seconds=3600, renewable=True)
        self.refused: Unavailable | None = None
        self.logins = 0
        self.signed = 0
        self.forged: dict[str, Any] = {}  # what the role signs otherwise

    def place(self, *, notes: tuple[str, ...] = ()) -> VaultPlace:
        """What checks look at."""
        client = cast("Client", self)
        return VaultPlace(
            config=self.config,
            notes=notes,
            client=client,
            visit=Visit(self.config, client, self.log_in),
            trust_domain=TRUST_DOMAIN,
            clock=self.clock,
            leaf_lifetime=timedelta(hours=24),
        )

    async def log_in(self, _: Client) -> Token:
        """The configured login."""
        self.logins += 1
        if self.refused is not None:
            raise self.refused
        return self.token

    async def call(
        self, method: Method, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] = NOBODY
    ) -> Answer:
        """One call; what a path that needs a login says without one is a fault of the check."""
        if isinstance(failed := self.answers.get(path), Unavailable):
            raise failed
        assert (token == OURS) is (path not in {f"{ISSUER}/json", PROBE, "pki/issuers?list=true"})
        if path == "sys/capabilities-self":
            paths = cast("list[str]", (body or {})["paths"])
            return read_answer({"data": {path: self.may.get(path, ["deny"]) for path in paths}})
        if path == SIGN:
            return read_answer(self._sign(body or {}))
        if path == SIGN_LEAF:
            leaf = sign_leaf(self.ca, body or {}, self.clock.now(), **self.forged)
            return read_answer({"data": {"certificate": to_pem(leaf)}})
        assert method == ("post" if path == RENEW else "get")
        return read_answer(failed)

    async def of_server(self, path: str) -> Answer:
        """The health page."""
        assert path == HEALTH
        if isinstance(failed := self.answers.get(path), Unavailable):
            raise failed
        return read_answer(self.health)

    def issuer(self, ca: Ca) -> dict[str, object]:
        """The page of an issuer."""
        return {"data": {"issuer_id": "one", "certificate": ca.pem, "ca_chain": [ca.pem]}}

    def _sign(self, body: Mapping[str, object]) -> dict[str, object]:
        self.signed += 1
        how, csr = self.signature, x509.load_pem_x509_csr(str(body["csr"]).encode())
        uris = [str(body["uri_sans"])] if how.uris is None else how.uris
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, how.dns)]
        wanted = self.clock.now() + timedelta(seconds=int(str(body["ttl"]).removesuffix("s")))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(how.common_name or str(body["common_name"])))
            .issuer_name(how.ca.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.clock.now())
            .not_valid_after(min(wanted, how.ends))
            .add_extension(SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(how.ca.key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if how.constraints is not None:
            builder = builder.add_extension(how.constraints, critical=True)
        made = builder.sign(how.ca.key, hash_for(how.ca.key)).public_bytes(Encoding.PEM).decode()
        chain = [made if one == "NEW" else one for one in how.chain]
        return {
            "data": {"certificate": made, "ca_chain": chain, "issuing_ca": how.ca.pem},
            "warnings": how.warnings,
        }


def vault_config(*, sha256: str = "0" * 64, **changes: Any) -> VaultConfig:
    """A configuration that logs in by AppRole and pins a root."""
    approle = {"role_id": "meshca", "secret_id_file": "/run/secret-id"}
    return VaultConfig.model_validate(
        {
            "kind": "vault",
            "address": "https://vault.example:8200",
            "ca_file": str(Path("/etc/vault-ca.pem")),
            "login": {"approle": approle},
            "roots": {"sha256": [sha256]},
        }
        | changes
    )


def _subject(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshca")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
