"""The ledger's port over PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from meshca.clock import Clock
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result
from meshca.store.postgres.link import Connection, Link
from meshca.store.postgres.sql import FIND, LIVE, PRUNE, respelled
from meshca.store.postgres.text import kept, kept_row, read_row
from meshca.store.postgres.writer import Writer
from meshca.store.rows import Row, intent_row, issuance_of, live_leaf_of, micros, outcome_row

PRUNE_BATCH: Final = 5000  # records in one transaction, a fraction of a second
FETCHED: Final = 500  # rows at once, so that a long list does not hold up the event loop

T = TypeVar("T")


class PostgresLedger:
    """Implements `ledger.port.LedgerStore`.

    Args:
        writer: of this process.
        reader: for single records; renewals wait for it.
        lister: for lists and pruning, which may take long.
        clock: what has ended is decided by it.
    """

    def __init__(self, writer: Writer, reader: Link, lister: Link, clock: Clock) -> None:
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

        async def ask(connection: Connection) -> tuple[object, ...] | None:
            return await (await connection.execute(FIND, (kept(serial),))).fetchone()

        row = await self._reader.run(ask)
        return issuance_of(read_row(row)) if row else None

    async def query(self, query: Query) -> list[Issuance]:
        """As the port says."""
        from meshca.store.statements import POSTGRESQL, listing

        statement, parameters = listing(query, POSTGRESQL)

        return await self._lister.run(
            lambda connection: collected(connection, respelled(statement), kept_row(parameters), issuance_of)
        )

    async def live(self, now: datetime) -> list[LiveLeaf]:
        """As the port says."""
        wanted = (micros(now), Result.FAILED.value)
        return await self._lister.run(lambda connection: collected(connection, LIVE, wanted, live_leaf_of))

    async def prune(self, before: datetime) -> int:
        """As the port says; in batches, between which others get their turn."""
        limits = (micros(before), micros(self._clock.now()), PRUNE_BATCH)

        async def remove(connection: Connection) -> int:
            row: Any = await (await connection.execute(PRUNE, limits)).fetchone()
            return int(row[0])

        removed = 0
        while True:
            batch = await self._lister.run(remove)
            removed += batch
            if batch < PRUNE_BATCH:
                return removed

    async def restore(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Record, in this order, what was recorded elsewhere while the store was away; again is no harm.

        Raises:
            Unavailable: reason `store`; nothing of it was recorded.
            InvariantBroken: reason `store_value`: it will never be.
        """
        await self._writer.restore([intent_row(one) for one in intents], [outcome_row(one) for one in outcomes])

    def expect(self, serials: Collection[str]) -> None:
        """This process will `finish` these, whose intents were restored."""
        self._writer.expect(serials)


async def collected(
    connection: Connection, statement: str, parameters: Sequence[Any], make: Callable[[Row], T]
) -> list[T]:
    """What is made of each row that a statement finds; fetched some at a time."""
    made: list[T] = []
    async with connection.transaction(), connection.cursor(name="meshca") as cursor:
        await cursor.execute(statement, parameters)
        while found := await cursor.fetchmany(FETCHED):
            made += [make(read_row(row)) for row in found]
    return made
