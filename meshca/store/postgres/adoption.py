"""Adoption rows in PostgreSQL, which all replicas of a server share.

A worker is known by its replica and its own name there, so that no replica ends another's streams. A stream counts
as open only while its replica is heard: one that died, or is cut off, cannot say that its streams have ended.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authority.adoption import Adoption, standing
from meshca.clock import Clock
from meshca.store.adoption import crowds, replaced
from meshca.store.postgres.ledger import collected
from meshca.store.postgres.link import Connection, Link
from meshca.store.postgres.sql import (
    ADOPT,
    ADOPTION_COLUMNS,
    ADOPTIONS,
    CROWD_OUT,
    DISCONNECT_REPLICA,
    DISCONNECT_STREAM,
    DISCONNECT_WORKER,
    FORGET_ADOPTIONS,
    HEARD,
    REPLACE,
    encoded,
    group,
)
from meshca.store.postgres.text import kept, kept_row
from meshca.store.rows import adoption_of, adoption_row, micros

SILENCE: Final = timedelta(
    minutes=1
)  # after which a replica's streams count as ended; it is heard each few seconds


class PostgresAdoptions:
    """Implements `store.adoption.AdoptionTable`.

    Args:
        link: to read and write by.
        replica: name of this one; no other has it.
        clock: when a replica was heard is compared with it.
    """

    def __init__(self, link: Link, replica: str, clock: Clock) -> None:
        self._link = link
        self._prefix = f"{replica}/"
        self._clock = clock

    async def write(self, adoptions: Collection[Adoption], ended: Collection[tuple[str, str]]) -> None:
        """As the port says."""
        news = sorted(
            (replace(one, worker=self._prefix + one.worker) for one in adoptions), key=lambda one: one.row
        )
        rows = group(encoded(ADOPTION_COLUMNS, adoption_row(one)) for one in news)
        streams = sorted(kept_row((self._prefix + worker, stream)) for worker, stream in ended)

        async def work(connection: Connection) -> None:
            async with connection.transaction(), connection.cursor() as cursor:
                await cursor.execute(ADOPT, (rows,))
                await cursor.executemany(DISCONNECT_STREAM, streams)
                await cursor.executemany(REPLACE, map(kept_row, replaced(news)))
                await cursor.executemany(CROWD_OUT, map(kept_row, crowds(news)))

        await self._link.run(work)

    async def list(self) -> Sequence[Adoption]:
        """As the port says; a worker of another replica has that one's name before its own."""
        since = self._silent_since()

        async def ask(connection: Connection) -> tuple[list[Adoption], list[tuple[object, ...]]]:
            found = await collected(connection, ADOPTIONS, (), adoption_of)
            return found, await (await connection.execute(HEARD, (since,))).fetchall()

        found, heard = await self._link.run(ask)
        alive = {replica for (replica,) in heard}
        return standing(self._seen(one, alive) for one in found)

    async def disconnect_worker(self, worker: str) -> None:
        """As the port says."""
        await self._execute(DISCONNECT_WORKER, kept(self._prefix + worker))

    async def disconnect_everyone(self) -> None:
        """As the port says: of this replica."""
        await self._execute(DISCONNECT_REPLICA, self._prefix)

    async def forget(self, before: datetime) -> int:
        """As the port says; streams of a replica that is gone are not open."""
        return await self._execute(FORGET_ADOPTIONS, micros(before), self._silent_since())

    async def _execute(self, statement: str, *parameters: object) -> int:
        async def work(connection: Connection) -> int:
            return (await connection.execute(statement, parameters)).rowcount

        return await self._link.run(work)

    def _silent_since(self) -> int:
        """Replicas that were heard last before this count as gone."""
        return micros(self._clock.now() - SILENCE)

    def _seen(self, one: Adoption, alive: Collection[object]) -> Adoption:
        replica = one.worker.partition("/")[0]
        worker = one.worker.removeprefix(self._prefix)
        return replace(one, worker=worker, connected=one.connected and replica in alive)
