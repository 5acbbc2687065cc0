"""Which fault an HTTP answer of the server tells.

The server's own words are looked at only to tell faults apart that share a status, and are never shown. Sources:
the HTTP API pages of Vault and OpenBao; docs/operations/vault.md has the whole table with our reactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from meshca.upstream.vault.faults import Fault

GOOD: Final = frozenset({200, 204})
_BY_STATUS: Final = MappingProxyType(
    {
        400: Fault.BAD_REQUEST,
        401: Fault.FORBIDDEN,
        403: Fault.FORBIDDEN,
        404: Fault.MOUNT,
        405: Fault.MOUNT,
        408: Fault.TIMEOUT,
        412: Fault.STALE,
        413: Fault.BAD_REQUEST,
        429: Fault.RATE_LIMITED,
        472: Fault.STANDBY,
        473: Fault.STANDBY,
        474: Fault.STANDBY,
    }
)
_ANYBODY: Final = frozenset({408, 412, 429, 472, 473, 474})  # also by a proxy, or without a word
_BY_WORDS: Final = (  # lower case, the first that is found counts
    ("namespace not found", Fault.NAMESPACE),
    ("namespaces are not supported", Fault.NAMESPACE),
    ("no handler for route", Fault.MOUNT),
    ("unsupported path", Fault.MOUNT),
    ("unable to find pki issuer", Fault.ISSUER),
    ("unable to find issuer", Fault.ISSUER),
    ("no default issuer", Fault.ISSUER),
    ("requested usage issuing-certificates", Fault.ISSUER_USAGE),
    ("unknown role", Fault.ROLE),
    ("wrapping token is not valid", Fault.SECRET_ID_USED),
)
# A refusal of a CSR repeats texts of it, which may hold any of those words.
_REPEATS_A_CSR: Final = "allowed by this role"
_DOWN: Final = (  # only with 5xx, which a proxy before the server gives too: then without these words
    ("sealed", Fault.SEALED),
    ("not initialized", Fault.UNINITIALIZED),
)


def fault_for(status: int, errors: Sequence[str] | None, *, logged_in: bool) -> Fault:
    """What went wrong.

    Args:
        status: of the answer; one of `GOOD` is no fault and must not be asked about.
        errors: what the server says, unverified; None when it does not speak as a Vault does.
        logged_in: whether a token was shown. Where none is needed a refusal means that there is nothing there.
    """
    if errors is None and status not in _ANYBODY and status < 500:
        return Fault.NOT_VAULT
    said = " ".join(errors or ()).lower()
    if status == 400 and _REPEATS_A_CSR in said:
        return Fault.BAD_REQUEST
    for words, fault in _BY_WORDS:
        if words in said:
            return fault
    if status == 403 and not logged_in:
        return Fault.MOUNT
    if 500 <= status < 600:
        return next((fault for words, fault in _DOWN if words in said), Fault.SERVER_ERROR)
    return _BY_STATUS.get(status, Fault.NOT_VAULT)
