"""The adoption port over a table: what all workers heard from agents, written together some times a second.

A thousand acknowledgements of one push must not make a thousand commits, and no stream waits for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from meshca.authority.adoption import MAX_AGENTS, Adoption, standing
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.store.reader import Reader
from meshca.store.rows import Row, adoption_of, adoption_row, micros
from meshca.store.sql import (
    ADOPT,
    ADOPTIONS,
    CROWD_OUT,
    DISCONNECT_EVERYONE,
    DISCONNECT_STREAM,
    DISCONNECT_WORKER,
    FORGET_ADOPTIONS,
    REPLACE,
)
from meshca.store.writer import Writer

GATHER_SECONDS: Final = 0.05  # how long the first record waits for others
MAX_WAITING: Final = 50_000  # records and ends of streams, a few hundred bytes each, while nothing can be written

_Key = tuple[str, ...]
_Stream = tuple[str, str]


class AdoptionTable(Protocol):
    """The rows of one database; each call is durable when it returns, and raises Unavailable, reason `store`."""

    async def write(self, adoptions: Collection[Adoption], ended: Collection[_Stream]) -> None:
        """Keep the latest of streams, then end streams, then remove what is replaced, then crowd out."""
        ...

    async def list(self) -> Sequence[Adoption]:
        """What is `standing`, ordered by agent, node id and kind."""
        ...

    async def disconnect_worker(self, worker: str) -> None:
        """Every stream of a worker's instance has ended."""
        ...

    async def disconnect_everyone(self) -> None:
        """Every stream that this server, as it was before it started, may have held has ended."""
        ...

    async def forget(self, before: datetime) -> int:
        """Remove agents that are not connected and were not heard since; how many records it were."""
        ...


class SqliteAdoptions:
    """Implements `AdoptionTable`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def write(self, adoptions: Collection[Adoption], ended: Collection[_Stream]) -> None:
        """As the port says."""
        await self._writer.run(partial(_write, adoptions, ended))

    async def list(self) -> Sequence[Adoption]:
        """As the port says."""
        return await self._reader.read(
            lambda connection: standing(adoption_of(row) for row in connection.execute(ADOPTIONS))
        )

    async def disconnect_worker(self, worker: str) -> None:
        """As the port says."""
        await self._writer.run(lambda connection: connection.execute(DISCONNECT_WORKER, (worker,)).rowcount)

    async def disconnect_everyone(self) -> None:
        """As the port says."""
        await self._writer.run(lambda connection: connection.execute(DISCONNECT_EVERYONE).rowcount)

    async def forget(self, before: datetime) -> int:
        """As the port says."""
        limit = micros(before)
        return await self._writer.run(lambda connection: connection.execute(FORGET_ADOPTIONS, (limit,)).rowcount)


class SqlAdoption:
    """Implements `authority.adoption.AdoptionStore`."""

    def __init__(self, table: AdoptionTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._latest: dict[_Key, Adoption] = {}
        self._ended: dict[_Stream, None] = {}
        self._writing: asyncio.Task[None] | None = None

    def record(self, adoption: Adoption) -> None:
        """As the port says."""
        self._latest[adoption.row] = adoption
        _bound(self._latest)
        self._plan()

    def disconnected(self, worker: str, stream: str) -> None:
        """As the port says."""
        self._ended[worker, stream] = None
        _bound(self._ended)
        self._plan()

    async def list(self) -> Sequence[Adoption]:
        """As the port says; what was recorded in the last twentieth of a second may be missing."""
        return await self._table.list()

    async def disconnect_worker(self, worker: str) -> None:
        """A worker's instance has ended, perhaps without a word: none of its streams is open any more.

        Raises:
            Unavailable: reason `store`.
        """
        await self._table.disconnect_worker(worker)

    async def disconnect_everyone(self) -> None:
        """The server starts: none of its streams is open yet, whatever an earlier one of it left behind.

        Raises:
            Unavailable: reason `store`.
        """
        await self._table.disconnect_everyone()

    async def forget(self, before: datetime) -> int:
        """Remove agents that are gone and were not heard since an instant, and say how many records it were.

        Raises:
            Unavailable: reason `store`.
        """
        return await self._table.forget(before)

    async def close(self) -> None:
        """Write what waits, if the store can be written."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        if self._latest or self._ended:
            with contextlib.suppress(Unavailable):
                await self._write()

    def _plan(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write_until_nothing_waits())

    async def _write_until_nothing_waits(self) -> None:
        while self._latest or self._ended:
            await self._clock.sleep(GATHER_SECONDS)
            with contextlib.suppress(Unavailable):  # the writer has logged it; what waits is kept
                await self._write()

    async def _write(self) -> None:
        latest, self._latest = self._latest, {}
        ended, self._ended = self._ended, {}
        try:
            await self._table.write(list(latest.values()), list(ended))
        except (Unavailable, asyncio.CancelledError):
            self._latest = latest | self._latest
            self._ended = ended | self._ended
            raise


def _write(adoptions: Collection[Adoption], ended: Collection[_Stream], connection: sqlite3.Connection) -> None:
    connection.executemany(ADOPT, map(adoption_row, adoptions))
    connection.executemany(DISCONNECT_STREAM, ended)
    connection.executemany(REPLACE, replaced(adoptions))
    connection.executemany(CROWD_OUT, crowds(adoptions))


def replaced(adoptions: Collection[Adoption]) -> list[Row]:
    """What `REPLACE` takes, once for each speaker and kind."""
    latest: dict[_Key, int] = {}
    for one in adoptions:
        key = (*one.speaker, one.kind.value)
        latest[key] = max(micros(one.seen_at), latest.get(key, 0))
    return sorted((*key, seen_at) for key, seen_at in latest.items())


def crowds(adoptions: Collection[Adoption]) -> list[Row]:
    """What `CROWD_OUT` takes, once for each identity, pod and kind."""
    found = {(str(one.agent), one.pod, one.pod_uid, one.kind.value) for one in adoptions}
    return [(*crowd, *crowd, MAX_AGENTS) for crowd in sorted(found)]


def _bound(waiting: dict[Any, Any]) -> None:
    """Forget what waits longest: agents say it again when they come back."""
    if len(waiting) > MAX_WAITING:
        del waiting[next(iter(waiting))]
