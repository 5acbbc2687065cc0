"""What is in all spool files of a replica, read back from the disk: other processes' files are found as ours are.

A renewal may come to another worker than the certificate did. Reading is blocking: not on an event loop.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result
from meshca.store.spool.file import SUFFIX
from meshca.store.spool.lines import record_of
from meshca.store.spool.terms import NOTHING, Spooled
from meshca.validity import ended

NEWLINE: Final = b"\n"


class Tail:
    """One file, read as far as its last whole line.

    Attributes:
        intents, outcomes: by serial number, in the order they were written.
        damaged: whole lines that could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.intents: dict[str, Intent] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.damaged = 0
        self._path = path
        self._offset = 0

    def read(self) -> Self:
        """Read what has come since.

        Raises:
            OSError: the file cannot be read, or is gone.
        """
        with self._path.open("rb") as file:
            file.seek(self._offset)
            news = file.read()
        whole = news[: news.rfind(NEWLINE) + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line)
        return self

    @property
    def oldest(self) -> datetime | None:
        """When the first intent was recorded."""
        return next((one.intended_at for one in self.intents.values()), None)

    def _take(self, line: bytes) -> None:
        try:
            record = record_of(line)
        except ValueError:
            self.damaged += 1
        else:
            if isinstance(record, Intent):
                self.intents[record.serial] = record
            else:
                self.outcomes.setdefault(record.serial, record)


class Shelf:
    """All files of a folder, as of the last `refresh`.

    Attributes:
        spooled: how much it is.
    """

    def __init__(self, folder: Path) -> None:
        self.spooled = NOTHING
        self._folder = folder
        self._lock = threading.Lock()
        self._tails: dict[Path, Tail] = {}

    def paths(self) -> list[Path]:
        """The files that are there now, in the order of their names."""
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX)
        except OSError:
            return []

    def refresh(self) -> None:
        """Look again; a file that was brought to the store is forgotten."""
        with self._lock:
            tails: dict[Path, Tail] = {}
            for path in self.paths():
                with contextlib.suppress(OSError):  # another process was quicker
                    tails[path] = self._tails.get(path, Tail(path)).read()
            self._tails = tails
            oldest = [tail.oldest for tail in tails.values() if tail.oldest is not None]
            count = sum(len(tail.intents) for tail in tails.values())
            self.spooled = Spooled(records=count, oldest=min(oldest, default=None))

    def find(self, serial: str) -> Issuance | None:
        """The record of a serial number, or None."""
        tails = self._tails.values()
        intent = next((tail.intents[serial] for tail in tails if serial in tail.intents), None)
        return None if intent is None else Issuance(intent=intent, outcome=self._outcome(serial))

    def live(self, now: datetime) -> Iterator[LiveLeaf]:
        """Every certificate that has not ended, unless its signing failed; in no order."""
        for tail in self._tails.values():
            for one in list(tail.intents.values()):
                outcome = self._outcome(one.serial)
                if not ended(one.not_after, now) and (outcome is None or outcome.result is not Result.FAILED):
                    yield _leaf(one)

    def _outcome(self, serial: str) -> Outcome | None:
        tails = self._tails.values()
        return next((tail.outcomes[serial] for tail in tails if serial in tail.outcomes), None)


def _leaf(intent: Intent) -> LiveLeaf:
    return LiveLeaf(
        serial=intent.serial,
        spiffe_id=intent.spiffe_id,
        pod_name=intent.pod_name,
        pod_uid=intent.pod_uid,
        node_name=intent.node_name,
        requested_by=intent.requested_by,
        parent_serial=intent.parent_serial,
        signer=intent.signer,
        issued_at=intent.intended_at,
        not_after=intent.not_after,
    )
