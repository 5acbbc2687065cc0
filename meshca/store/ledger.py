"""The ledger's port over SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from functools import partial
from typing import Final

from meshca.clock import Clock
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result
from meshca.store.reader import Reader
from meshca.store.rows import BY_ISSUE, Row, intent_row, issuance_of, live_leaf_of, micros, outcome_row
from meshca.store.sql import FIND, FORGET_INTENT, FORGET_OUTCOME, LIVE
from meshca.store.writer import Writer

PRUNE_BATCH: Final = 500  # records in one transaction: about 10 ms, so that no issuance waits long for it


class SqlLedger:
    """Implements `ledger.port.LedgerStore`.

    Args:
        writer: of this process.
        reader: for single records; renewals wait for it.
        lister: for queries, what lives, and pruning, which may take long.
        clock: what has ended is decided by it.
    """

    def __init__(self, writer: Writer, reader: Reader, lister: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._lister = lister
        self._clock = clock

    async def intend(self, intent: Intent) -> None:
        """As the port says."""
        await self._writer.intend(intent_row(intent))

    def finish(self, outcome: Outcome) -> None:
        """As the port says."""
        self._writer.finish(outcome_row(outcome))

    async def find(self, serial: str) -> Issuance | None:
        """As the port says."""
        row = await self._reader.read(lambda connection: connection.execute(FIND, (serial,)).fetchone())
        return issuance_of(row) if row else None

    async def query(self, query: Query) -> list[Issuance]:
        """As the port says."""
        from meshca.store.statements import listing

        statement, parameters = listing(query)
        return await self._lister.read(
            lambda connection: [issuance_of(row) for row in connection.execute(statement, parameters)]
        )

    async def live(self, now: datetime) -> list[LiveLeaf]:
        """As the port says."""
        wanted = (micros(now), Result.FAILED.value)
        return await self._lister.read(partial(_live, wanted))

    async def prune(self, before: datetime) -> int:
        """As the port says; in batches, between which issuance goes on."""
        removed = 0
        place = (0, "")
        now = micros(self._clock.now())
        while True:
            found = await self._ended(micros(before), now, place)
            if found:
                place = found[-1][0], found[-1][1]
                removed += await self._writer.run(partial(_forget, [row[1:] for row in found]))
            if len(found) < PRUNE_BATCH:
                return removed

    async def _ended(self, before: int, now: int, place: tuple[int, str]) -> list[Row]:
        from meshca.store.statements import ended

        statement, parameters = ended(before, now, place, PRUNE_BATCH)
        return await self._lister.read(lambda connection: connection.execute(statement, parameters).fetchall())


def _live(wanted: Row, connection: sqlite3.Connection) -> list[LiveLeaf]:
    """Sorted here: told to, SQLite would read every record in order, to save itself the sorting."""
    rows = connection.execute(LIVE, wanted).fetchall()
    rows.sort(key=BY_ISSUE)
    return [live_leaf_of(row) for row in rows]


def _forget(serials: list[Row], connection: sqlite3.Connection) -> int:
    """Remove intents with their outcomes; how many intents there were."""
    connection.executemany(FORGET_OUTCOME, serials)
    return connection.executemany(FORGET_INTENT, serials).rowcount
