"""The port of the authority's history over PostgreSQL: one row that is replaced, and a table that only grows.

A commit never writes over a generation that its caller has not seen, and never half, whichever replica it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshca.authority.history import EMPTY, Change, Lifecycle
from meshca.clock import Clock, pause
from meshca.errors import Conflict, Unavailable
from meshca.store.lifecycle_rows import body_of, change_of, change_rows, lifecycle_of
from meshca.store.postgres.ledger import collected
from meshca.store.postgres.link import Connection, Link
from meshca.store.postgres.listener import Listener
from meshca.store.postgres.sql import (
    ADD_CHANGE,
    CHANGES,
    FIRST_LIFECYCLE,
    GENERATION,
    LIFECYCLE,
    NEXT_LIFECYCLE,
    NOTIFY,
)
from meshca.store.postgres.text import kept_row

LOOK_SECONDS: Final = 0.5  # between two looks without a word; every replica must follow within a second


class PostgresLifecycle:
    """Implements `authority.history.LifecycleStore`.

    Args:
        link: to read and write by.
        listener: hears of other replicas' commits.
        clock: what passes between two looks.
    """

    def __init__(self, link: Link, listener: Listener, clock: Clock) -> None:
        self._link = link
        self._listener = listener
        self._clock = clock

    async def load(self) -> Lifecycle:
        """As the port says."""
        found = await self._link.run(lambda connection: collected(connection, LIFECYCLE, (), tuple))
        return lifecycle_of(*found[0]) if found else EMPTY

    async def commit(self, lifecycle: Lifecycle, changes: Sequence[Change]) -> None:
        """As the port says; who is cancelled or told Unavailable does not know whether it was written."""
        rows = [kept_row(row) for row in change_rows(lifecycle, changes)]
        generation, body = lifecycle.generation, body_of(lifecycle)

        async def work(connection: Connection) -> None:
            async with connection.transaction(), connection.cursor() as cursor:
                if generation == EMPTY.generation + 1:
                    await cursor.execute(FIRST_LIFECYCLE, (generation, body))
                else:
                    await cursor.execute(NEXT_LIFECYCLE, (generation, body, generation - 1))
                if not cursor.rowcount:
                    problem = f"generation {generation - 1} is not what is stored any more; look again"
                    raise Conflict("generation", problem)
                await cursor.executemany(ADD_CHANGE, rows)
                await cursor.execute(NOTIFY)

        await self._link.run(work)

    async def changes(self, limit: int) -> Sequence[Change]:
        """As the port says."""
        most = max(limit, 0)
        return await self._link.run(lambda connection: collected(connection, CHANGES, (most,), change_of))

    async def changed(self, generation: int) -> None:
        """As the port says."""
        while True:
            news = self._listener.next()  # before looking: what is committed meanwhile is heard
            try:
                if await self._link.run(_generation) != generation:
                    return
            except Unavailable:  # whoever reads or writes next is told
                pass
            await pause(self._clock, LOOK_SECONDS, news)


async def _generation(connection: Connection) -> object:
    row = await (await connection.execute(GENERATION)).fetchone()
    return EMPTY.generation if row is None else row[0]
