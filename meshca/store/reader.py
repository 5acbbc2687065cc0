"""Reads on a thread and a connection of their own: never on the event loop, never behind a commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

from meshca.store.connection import Reopening, Use
from meshca.store.faults import needs_reopening, unavailable
from meshca.store.lane import Job, Lane

MAX_WAITING: Final = 8192

T = TypeVar("T")
Question = Callable[[sqlite3.Connection], object]


class Read(Job):
    """One question to the database."""

    __slots__ = ("question",)

    def __init__(self, future: asyncio.Future[object], question: Question) -> None:
        super().__init__(future)
        self.question = question


class Reader:
    """Reads in the order asked. Made, used and closed on one event loop; the thread starts with the first read."""

    def __init__(self, path: Path, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = Reopening(path, Use.READ)
        self._lane: Lane[Read] = Lane(name, self._perform, limit=MAX_WAITING)

    async def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """What a question that runs on the reading connection finds.

        Raises:
            Unavailable: reason `store`.
        """
        future = self._loop.create_future()
        self._lane.put(Read(future, question))
        return cast("T", await future)

    async def close(self) -> None:
        """Finish what waits, then close the connection."""
        await self._lane.close()
        self._connection.close()

    def _perform(self, batch: list[Read]) -> None:
        for read in batch:
            if read.future is not None and read.future.cancelled():
                continue
            try:
                read.result = read.question(self._connection.get())
            except sqlite3.Error as error:
                if needs_reopening(error):
                    self._connection.close()
                read.error = unavailable(error)
