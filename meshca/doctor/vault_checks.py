"""The table of checks of a Vault, in the order in which a fault of one explains those after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from meshca.doctor.finding import Said
from meshca.doctor.vault import capabilities, clock, login, mount, server, tls
from meshca.doctor.vault_issuer import issuer, root, signature
from meshca.doctor.vault_place import VaultPlace

CHECKS: Final[Mapping[str, Callable[[VaultPlace], Awaitable[Said]]]] = {
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

SIGNING_CHECKS: Final = {**CHECKS, "vault-signature": signature}
"""With the one that has a throw-away intermediate signed."""
