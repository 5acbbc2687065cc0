"""The only writer of this process: everything that waits goes into one transaction and one fsync.

An intent is reported as recorded only after its commit; a group that fails leaves nothing behind. Outcomes of a
failed group are kept and written with the next one: the signatures that they speak of exist.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

from meshca import metrics
from meshca.clock import Clock
from meshca.errors import MeshcaError, Unavailable
from meshca.ledger.port import SerialReused
from meshca.log import log
from meshca.store.connection import Reopening, Use, begin
from meshca.store.faults import needs_reopening, unavailable
from meshca.store.lane import Job, Lane
from meshca.store.location import Place
from meshca.store.rows import Row
from meshca.store.sql import FINISH, INTEND

MAX_WAITING: Final = 8192  # intents and tasks; some seconds' worth of writing on a slow disk
# Requests that come one by one through gRPC would otherwise have a commit each. With 32 callers 4 ms save 20 %
# of the CPU time of a certificate, 10 ms another 10 %, and more nothing; latency stays what the CPUs make it.
GATHER: Final = 0.010  # seconds; a few commits on a fast disk
RETRY_SECONDS: Final = 1.0  # after which kept outcomes are tried again when nothing else is written

T = TypeVar("T")
Task = Callable[[sqlite3.Connection], object]


class Write(Job):
    """One write: an intent's row, an outcome's row, or a task that is given the open transaction."""

    __slots__ = ("intent", "outcome", "task")

    def __init__(
        self,
        future: asyncio.Future[object] | None = None,
        *,
        intent: Row | None = None,
        outcome: Row | None = None,
        task: Task | None = None,
    ) -> None:
        super().__init__(future)
        self.intent = intent
        self.outcome = outcome
        self.task = task


class Writer:
    """Group commit. Made, used and closed on one event loop.

    Attributes:
        commits: how many transactions were committed.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.commits = 0
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._place = Place(path)
        self._connection = Reopening(path, Use.WRITE)
        self._lane: Lane[Write] = Lane(
            "store-writer", self._perform, limit=MAX_WAITING, gather=GATHER, batch_done=self._after
        )
        self._open: set[str] = set()  # serials whose outcome is still to come
        self._kept: list[Row] = []  # outcomes of failed groups; the thread's, read by the loop between batches
        self._failing = False
        self._retrying: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many writes wait."""
        return len(self._lane) + len(self._kept)

    async def intend(self, row: Row) -> None:
        """Write an intent; durable when this returns.

        Raises:
            Unavailable: reason `store`.
            InvariantBroken: reason `serial_reused`.
        """
        serial = row[0]
        if serial in self._open:  # of two under way nobody could tell whose outcome is which
            raise SerialReused(serial)
        future = self._loop.create_future()
        self._open.add(serial)
        try:
            self._lane.put(Write(future, intent=row))
            await future  # a cancelled one may have been written: it stays open
        except MeshcaError:
            self._open.discard(serial)
            raise

    def finish(self, row: Row) -> None:
        """Write an outcome with the next group, and again until it is written; nothing for a refused intent."""
        serial = row[-1]
        if serial not in self._open:
            return
        self._open.discard(serial)
        try:
            self._lane.put(Write(outcome=row), lazily=True)
        except Unavailable:
            log.warning("store.outcome_lost", serial=serial, detail="the store was closed already")

    async def run(self, task: Callable[[sqlite3.Connection], T]) -> T:
        """Run a task within the next group's transaction; it must not commit.

        Raises:
            Unavailable: reason `store`.
        """
        future = self._loop.create_future()
        self._lane.put(Write(future, task=task))
        return cast("T", await future)

    async def close(self) -> None:
        """Write what waits, then close the connection."""
        if self._retrying is not None:
            self._retrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._retrying
        if self._kept:
            self._lane.put(Write(), lazily=True)
        await self._lane.close()
        if self._kept:
            log.warning("store.outcomes_lost", count=len(self._kept), detail="the store could not be written")
            self._kept = []
        self._connection.close()

    # On the thread.

    def _perform(self, batch: list[Write]) -> None:
        batch = [write for write in batch if write.future is None or not write.future.cancelled()]
        self._kept += [write.outcome for write in batch if write.outcome is not None]
        try:
            self._group(batch)
        except sqlite3.Error as error:
            self._connection.rollback()
            if needs_reopening(error):
                self._connection.close()
            self._failed(batch, unavailable(error))
        except Unavailable as error:  # the file is gone: what was written is given up, the connection waits for it
            self._connection.rollback()
            self._failed(batch, error)
        else:
            self._succeeded()

    def _group(self, batch: list[Write]) -> None:
        connection = self._connection.get()
        intents = [write.intent for write in batch if write.intent is not None]
        begin(connection)
        try:
            if intents:
                connection.executemany(INTEND, intents)
        except sqlite3.IntegrityError:
            connection.execute("ROLLBACK")
            begin(connection)
            _one_by_one(connection, batch)
        if self._kept:
            connection.executemany(FINISH, self._kept)
        for write in batch:
            if write.task is not None:
                write.result = write.task(connection)
        self._place.check()
        connection.execute("COMMIT")
        self._kept = []
        self.commits += 1

    def _failed(self, batch: list[Write], error: Unavailable) -> None:
        for write in batch:
            write.error = Unavailable(error.reason, error.detail)  # each its own: they gather tracebacks
        if not self._failing:
            self._failing = True
            log.error("store.write_failed", detail=error.detail, outcomes_kept=len(self._kept))

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            log.info("store.write_recovered")

    # On the loop.

    def _after(self) -> None:
        metrics.ledger_queue.set(len(self))
        if self._kept and (self._retrying is None or self._retrying.done()):
            self._retrying = self._loop.create_task(self._retry())

    async def _retry(self) -> None:
        await self._clock.sleep(RETRY_SECONDS)
        with contextlib.suppress(Unavailable):  # closed
            self._lane.put(Write(), lazily=True)


def _one_by_one(connection: sqlite3.Connection, batch: list[Write]) -> None:
    """A serial that is recorded already fails its own intent, not its neighbours'."""
    for write in batch:
        if write.intent is None:
            continue
        try:
            connection.execute(INTEND, write.intent)
        except sqlite3.IntegrityError:
            write.error = SerialReused(str(write.intent[0]))
