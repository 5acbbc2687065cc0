"""What we need at the server and nothing more: the least policy, and how an operator gives it to our login.

The one list behind `meshca vault policy`, the check of capabilities and docs/operations/vault.md. Pure: nothing is
asked, and no secret is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from meshca.config.vault import (
    VaultAppRoleLogin,
    VaultConfig,
    VaultKubernetesLogin,
    VaultTokenLogin,
)
from meshca.identity.spiffe_id import TrustDomain

NAME: Final = "meshca"  # of the policy, and of a role whose name the configuration does not say
STRANGE: Final = "meshca-probe"  # a name that nobody has: what may be done with it may be done with all
# Each with what a thief of our token could do.
_AT_ISSUER: Final = (  # both below the issuer, and below the mount for its default issuer
    ("sign-verbatim", "have any certificate signed as it asks"),
    (f"sign-verbatim/{STRANGE}", "have any certificate signed as it asks"),
    (f"sign/{STRANGE}", "have certificates signed by every role"),
    (f"issue/{STRANGE}", "have certificates and keys made by every role"),
    ("sign-self-issued", "have a CA of its own cross-signed"),
    ("revoke", "revoke what it likes"),
    (STRANGE, "do whatever a later version of the server can"),
)
_IN_MOUNT: Final = (
    (f"issuer/{STRANGE}", "change every issuer"),
    (f"issuer/{STRANGE}/sign-intermediate", "have a CA signed by every issuer of the mount"),
    (f"roles/{STRANGE}", "make roles"),
    ("config/issuers", "choose which issuer signs"),
    (f"config/{STRANGE}", "change the settings of the mount"),
    ("issuers/import/bundle", "bring an issuer in"),
    ("issuers/generate/root/internal", "make a root"),
    (f"issuers/{STRANGE}", "make issuers"),
    ("root", "delete roots"),
    ("root/sign-intermediate", "have a CA signed by whatever the default issuer is"),
    ("root/sign-self-issued", "have a CA of its own cross-signed"),
    ("root/rotate/internal", "make a root"),
    ("root/generate/internal", "make a root"),
    ("root/replace", "choose which issuer signs"),
    ("intermediate/generate/exported", "make a CA key and read it"),
    ("intermediate/set-signed", "bring an issuer in"),
    (f"intermediate/{STRANGE}", "make intermediates"),
    ("keys/import", "bring a key in"),
    ("keys/generate/exported", "make a CA key and read it"),
    (f"keys/{STRANGE}", "make keys"),
    (f"key/{STRANGE}", "delete the keys of issuers"),
)
_ELSEWHERE: Final = (
    (STRANGE, "use what it was never meant to"),
    (f"sys/mounts/{STRANGE}", "mount secrets engines"),
    (f"sys/auth/{STRANGE}", "mount logins"),
    (f"sys/policies/acl/{NAME}", "change its own policy"),
    ("auth/token/create", "make further tokens"),
    (f"auth/approle/role/{STRANGE}", "make roles of a login"),
    ("sys/seal", "seal the server"),
    (f"secret/data/{STRANGE}", "read the secrets of others"),
)

LEAF_ROLE: Final[Mapping[str, object]] = MappingProxyType(
    {
        "key_type": "any",
        "require_cn": "false",
        "use_csr_common_name": "false",
        "use_csr_sans": "false",
        "allow_any_name": "false",
        "allow_localhost": "false",
        "allow_ip_sans": "false",
        "key_usage": "DigitalSignature",
        "server_flag": "true",
        "client_flag": "true",
        "basic_constraints_valid_for_non_ca": "true",
        "not_before_duration": "30s",
        "no_store": "true",
    }
)
"""Options of a role that signs leaves as X509-SVID.md and our own lint want them, but for the trust domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One rule of the policy.

    Attributes:
        path: exact; `+` for any one segment, where there has to be a choice.
        capability: the only one on it.
        why: what it is for.
    """

    path: str
    capability: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """What a policy broader than ours allows.

    Attributes:
        path: where it is seen.
        why: what a thief of our token could do.
    """

    path: str
    why: str


def needs(config: VaultConfig) -> tuple[Need, ...]:
    """What the least policy has: a thief of our token gets CAs below one issuer with it, and nothing else."""
    issuer = f"{config.mount}/issuer/{config.issuer}"
    return (
        Need(path=f"{issuer}/sign-intermediate", capability="update", why="have our intermediate signed"),
        *_leaf_needs(config),
        Need(path=issuer, capability="read", why="see that the issuer may sign; only checks ask"),
        Need(path="auth/token/renew-self", capability="update", why="make our token last"),
        Need(path="auth/token/lookup-self", capability="read", why="see how long our token lasts"),
        Need(path="sys/capabilities-self", capability="update", why="compare this policy; only checks ask"),
    )


def _leaf_needs(config: VaultConfig) -> tuple[Need, ...]:
    """Any issuer, because which of them signs is decided by the rotation and not by the mount's default."""
    if config.sign_leaves is None:
        return ()
    path = f"{config.mount}/issuer/+/sign/{config.sign_leaves.role}"
    return (Need(path=path, capability="update", why="have leaves signed, by whichever issuer is in force"),)


def excesses(config: VaultConfig) -> tuple[Excess, ...]:
    """Where a policy that is too broad shows itself; a rule for one exact name that is not here is not seen."""
    mount, issuer = config.mount, f"{config.mount}/issuer/{config.issuer}"
    rows = (
        *((f"{issuer}/{path}", why) for path, why in _AT_ISSUER),
        *((f"{mount}/{path}", why) for path, why in (*_AT_ISSUER, *_IN_MOUNT)),
        *_ELSEWHERE,
    )
    asked = {need.path for need in needs(config)}
    return tuple(Excess(path=path, why=why) for path, why in rows if path not in asked)


def policy(config: VaultConfig) -> str:
    """The least policy, in HCL."""
    return "\n".join(
        f"# {need.why}\n" + f'path "{need.path}" {{ capabilities = ["{need.capability}"] }}'
        for need in needs(config)
    )


def commands(config: VaultConfig, trust_domain: TrustDomain) -> tuple[str, ...]:
    """What an operator types, each a command of `bao`; `vault` of HashiCorp takes the same."""
    written = f"meshca vault policy --config FILE | bao policy write {NAME} -"
    return (*_leaf_role(config, trust_domain), written, *_role(config))


def _leaf_role(config: VaultConfig, trust_domain: TrustDomain) -> tuple[str, ...]:
    """The role that signs leaves: of whatever is asked only the key, one URI of the mesh and the end may count."""
    if config.sign_leaves is None:
        return ()
    options = " ".join(f"{name}={value}" for name, value in LEAF_ROLE.items())
    path = f"{config.mount}/roles/{config.sign_leaves.role}"
    return (f"bao write {path} allowed_uri_sans='{trust_domain.id}/ns/*' {options}",)


def _role(config: VaultConfig) -> tuple[str, ...]:
    token = f"token_policies={NAME} token_no_default_policy=true token_ttl=1h"
    match method := config.login.method:
        case VaultTokenLogin(file=file):
            made = f"bao token create -policy={NAME} -no-default-policy -orphan -period=24h -field=token"
            return (f"(umask 077; {made} > {file})",)
        case VaultKubernetesLogin(mount=mount, role=role):
            bound = f"bound_service_account_names={NAME} bound_service_account_namespaces=NAMESPACE audience=vault"
            return (f"bao write auth/{mount}/role/{role} {bound} {token}",)
        case VaultAppRoleLogin(mount=mount, secret_id_file=file, wrapped=wrapped):
            path = f"auth/{mount}/role/{NAME}"
            wrap, field = ("-wrap-ttl=5m ", "wrapping_token") if wrapped else ("", "secret_id")
            return (
                f"bao write {path} secret_id_bound_cidrs=CIDR token_bound_cidrs=CIDR {token}",
                f"bao read -field=role_id {path}/role-id",
                f"(umask 077; bao write {wrap}-f -field={field} {path}/secret-id > {file})",
            )
    path, shown = f"auth/{method.mount}/certs/{method.role or NAME}", "certificate=@CA_FILE allowed_uri_sans=URI"
    return (f"bao write {path} {shown} {token}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """The least policy, and how it is given to our login.

    Attributes:
        policy: in HCL.
        commands: in their order.
    """

    policy: str
    commands: tuple[str, ...]

    @property
    def text(self) -> str:
        """The policy, with the commands as comments below: what is printed can be given to the server as it is."""
        told = "\n".join(f"#   {command}" for command in self.commands)
        return f"{self.policy}\n\n# Give it to our login (`vault` takes the same words):\n{told}"


def least(config: VaultConfig, trust_domain: TrustDomain) -> Least:
    """What this configuration needs."""
    return Least(policy=policy(config), commands=commands(config, trust_domain))
