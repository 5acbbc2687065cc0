"""The table of checks of a Vault, in the order in which a fault of one explains those after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from meshca.config.vault import VaultConfig
from meshca.doctor.finding import Said
from meshca.doctor.vault import capabilities, clock, login, mount, server, tls
from meshca.doctor.vault_issuer import issuer, root, signature
from meshca.doctor.vault_leaf import leaf
from meshca.doctor.vault_place import VaultPlace

Checks = Mapping[str, Callable[[VaultPlace], Awaitable[Said]]]

CHECKS: Final[Checks] = {
    "vault-server": server,
    "vault-tls": tls,
    "vault-clock": clock,
    "vault-login": login,
    "vault-policy": capabilities,
    "vault-mount": mount,
    "vault-root": root,
    "vault-issuer": issuer,
}
"""Those that change nothing at all."""

SIGNING_CHECKS: Final[Checks] = {**CHECKS, "vault-signature": signature}
"""With the one that has a throw-away intermediate signed."""

LEAF_CHECKS: Final[Checks] = {**SIGNING_CHECKS, "vault-leaf": leaf}
"""With the one that has a throw-away leaf signed too, beside that intermediate."""


def checks(config: VaultConfig, *, sign: bool) -> Checks:
    """Those that fit a configuration; only if `sign` is anything signed."""
    if not sign:
        return CHECKS
    return SIGNING_CHECKS if config.sign_leaves is None else LEAF_CHECKS
