"""What matters only to a store that replicas share: who this one is, and what it may do without the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshca.store.spool.terms import SpoolTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How a replica shares a store.

    Attributes:
        replica: what the others know it by, as a host name is spelled; the machine's name when empty. No two have
            the same.
        spool: what may be kept on this machine's disk while the store is out of reach; nothing when None.
    """

    replica: str = ""
    spool: SpoolTerms | None = None


ALONE: Final = Sharing()
SPOOL: Final = "spool"  # the folder in the data directory
