"""How much a replica may issue while the shared store is out of reach, and what it says of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolTerms:
    """From the configuration.

    Attributes:
        folder: of the files, on a disk of this machine; for one replica alone.
        max_age: how long after the first record that the store lacks more may be added; zero turns the spool off.
        max_records: intents that may wait for the store, of all processes of the replica together.
    """

    folder: Path
    max_age: timedelta
    max_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """What waits for the store, of all processes of this replica, as of a moment ago.

    Attributes:
        records: intents.
        oldest: when the first of them was recorded; None when there is none.
    """

    records: int
    oldest: datetime | None


NOTHING = Spooled(records=0, oldest=None)
