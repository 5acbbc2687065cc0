"""The port of the authority's history over SQLite: one row that is replaced, and a table that only grows.

A commit never writes over a generation that its caller has not seen, and never half.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Final

from meshca.authority.history import EMPTY, Change, Lifecycle
from meshca.clock import Clock
from meshca.errors import Conflict, Unavailable
from meshca.store.lifecycle_rows import body_of, change_of, change_rows, lifecycle_of
from meshca.store.reader import Reader
from meshca.store.rows import Row
from meshca.store.sql import ADD_CHANGE, CHANGES, GENERATION, LIFECYCLE, PUT_LIFECYCLE
from meshca.store.writer import Writer

LOOK_SECONDS: Final = 0.2  # between two looks at the generation; every replica must follow within a second
_ONLY: Final = 1  # the id of the one row


class SqlLifecycle:
    """Implements `authority.history.LifecycleStore`.

    Args:
        writer: of this process.
        reader: for single records; a transition must not wait for a long listing.
        clock: what passes between two looks.
    """

    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def load(self) -> Lifecycle:
        """As the port says."""
        row = await self._reader.read(lambda connection: connection.execute(LIFECYCLE).fetchone())
        return lifecycle_of(*row) if row else EMPTY

    async def commit(self, lifecycle: Lifecycle, changes: Sequence[Change]) -> None:
        """As the port says; who is cancelled here does not know whether it was written."""
        rows = change_rows(lifecycle, changes)
        found = await self._writer.run(partial(_put, lifecycle.generation, body_of(lifecycle), rows))
        if found != lifecycle.generation - 1:
            problem = f"generation {found} is stored, so {lifecycle.generation} cannot follow; look again"
            raise Conflict("generation", problem)

    async def changes(self, limit: int) -> Sequence[Change]:
        """As the port says."""
        most = max(limit, 0)  # less than nothing would be everything
        rows: list[Row] = await self._reader.read(
            lambda connection: connection.execute(CHANGES, (most,)).fetchall()
        )
        return [change_of(row) for row in rows]

    async def changed(self, generation: int) -> None:
        """As the port says."""
        while True:
            try:
                if await self._reader.read(_generation) != generation:
                    return
            except Unavailable:  # whoever reads or writes next is told
                pass
            await self._clock.sleep(LOOK_SECONDS)


def _put(generation: int, body: str, changes: Sequence[Row], connection: sqlite3.Connection) -> int:
    """Write a generation after the one before it; which one was found, and nothing written if it was another."""
    found = _generation(connection)
    if found == generation - 1:
        connection.execute(PUT_LIFECYCLE, (_ONLY, generation, body))
        connection.executemany(ADD_CHANGE, changes)
    return found


def _generation(connection: sqlite3.Connection) -> int:
    row = connection.execute(GENERATION).fetchone()
    found: int = EMPTY.generation if row is None else row[0]
    return found
