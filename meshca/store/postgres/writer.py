"""Intents and outcomes of this process: everything that waits goes into one transaction and one message.

An intent is reported as recorded only after its commit; a group that fails leaves nothing behind. Outcomes of a
failed group are kept and written with the next one: the signatures that they speak of exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from meshca import metrics
from meshca.errors import InvariantBroken, MeshcaError, Unavailable
from meshca.ledger.port import SerialReused
from meshca.log import log
from meshca.store.lane import Job
from meshca.store.postgres.link import Connection, Link
from meshca.store.postgres.sql import FINISH, INTEND, INTENT_COLUMNS, OUTCOME_ORDER, encoded, group
from meshca.store.rows import Row

MAX_WAITING: Final = 8192  # intents; some seconds' worth of writing to a slow server
MAX_BATCH: Final = 1024
LAZY: Final = 0.01  # seconds that an outcome waits for intents to share their commit
RETRY_SECONDS: Final = 1.0  # after which kept outcomes are tried again when nothing else is written


class _Intent(Job):
    """One intent that waits.

    Attributes:
        serial: its own.
        text: its row.
    """

    __slots__ = ("serial", "text")

    def __init__(self, future: asyncio.Future[object], serial: str, text: bytes) -> None:
        super().__init__(future)
        self.serial = serial
        self.text = text


class Writer:
    """Group commit. Made, used and closed on one event loop.

    Attributes:
        commits: how many transactions were committed.
    """

    def __init__(self, link: Link) -> None:
        self.commits = 0
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Intent] = []
        self._under_way = 0
        self._outcomes: list[bytes] = []  # rows
        self._open: set[str] = set()  # serials whose outcome is still to come
        self._working: asyncio.Task[None] | None = None
        self._later: asyncio.Handle | None = None
        self._failing = False
        self._closed = False

    def __len__(self) -> int:
        """How many writes wait."""
        return len(self._waiting) + self._under_way + len(self._outcomes)

    async def intend(self, row: Row) -> None:
        """Write an intent; durable when this returns.

        Raises:
            Unavailable: reason `store`.
            InvariantBroken: reason `serial_reused`, or `store_value` when the database will never take it.
        """
        if self._closed:
            raise Unavailable("store", "the store is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable(
                "store", f"{MAX_WAITING} intents wait already; the server or the way to it is too slow"
            )
        serial = row[0]
        if serial in self._open:  # of two under way nobody could tell whose outcome is which
            raise SerialReused(serial)
        future = self._loop.create_future()
        self._waiting.append(_Intent(future, serial, encoded(INTENT_COLUMNS, row)))
        self._open.add(serial)
        self._work()
        try:
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
        if self._closed:
            log.warning("store.outcome_lost", serial=serial, detail="the store was closed already")
            return
        self._outcomes.append(encoded(OUTCOME_ORDER, row))
        self._plan(LAZY)

    def expect(self, serials: Collection[str]) -> None:
        """Outcomes of these are still to come, though their intents were written another way."""
        self._open.update(serials)

    async def restore(self, intents: Sequence[Row], outcomes: Sequence[Row]) -> None:
        """Write what was recorded elsewhere; what is there already stays as it is.

        Raises:
            Unavailable: reason `store`; nothing of it was written.
            InvariantBroken: reason `store_value`, when the database will never take it.
        """
        made = [encoded(INTENT_COLUMNS, row) for row in intents]
        await self._link.run(partial(_write, made, [encoded(OUTCOME_ORDER, row) for row in outcomes]))
        self.commits += 1

    async def close(self) -> None:
        """Write what waits, once."""
        self._closed = True
        if self._later is not None:
            self._later.cancel()
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)
        if self._outcomes:
            await self._perform([])
        if self._outcomes:
            log.warning("store.outcomes_lost", count=len(self._outcomes), detail="the store could not be written")
            self._outcomes = []

    def _plan(self, seconds: float) -> None:
        if self._later is None and self._working is None and not self._closed:
            self._later = self._loop.call_later(seconds, self._work)

    def _work(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._working is None:  # the task starts in the next turn: what others of this turn bring comes along
            self._working = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while True:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                self._under_way = len(batch) + len(self._outcomes)
                await self._perform(batch)
                self._under_way = 0
                for one in batch:
                    one.settle()
                metrics.ledger_queue.set(len(self))
                if not self._waiting:
                    break
                await asyncio.sleep(0)  # who was just answered may bring its outcome
        finally:
            self._working = None
        if self._outcomes:
            self._plan(RETRY_SECONDS if self._failing else LAZY)

    async def _perform(self, batch: list[_Intent]) -> None:
        batch = [one for one in batch if one.future is None or not one.future.cancelled()]
        outcomes, self._outcomes = self._outcomes, []
        try:
            new = await self._link.run(partial(_write, [one.text for one in batch], outcomes))
        except MeshcaError as error:
            self._outcomes = outcomes + self._outcomes
            self._failed(batch, error)
        except Exception as error:  # noqa: BLE001 - the outermost layer of a task: who waits must be told
            log.error("store.writer_failed", exc_info=error)
            self._failed(batch, InvariantBroken("store", "the store's writer met an error that it does not know"))
        else:
            self.commits += 1
            self._succeeded()
            _refuse_reused(batch, new)

    def _failed(self, batch: list[_Intent], error: MeshcaError) -> None:
        for one in batch:
            one.error = type(error)(error.reason, error.detail)  # each its own: they gather tracebacks
        if not self._failing:
            self._failing = True
            log.error("store.write_failed", detail=error.detail, outcomes_kept=len(self._outcomes))

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = False
            log.info("store.write_recovered")


async def _write(intents: Sequence[bytes], outcomes: Sequence[bytes], connection: Connection) -> set[object]:
    """The serials that were new; in one transaction and, all in all, one message there and one back."""
    recording = connection.cursor()
    if not outcomes:
        await recording.execute(INTEND, (group(intents),))
    else:
        async with connection.pipeline(), connection.transaction():
            await recording.execute(INTEND, (group(intents),))
            await connection.execute(FINISH, (group(outcomes),))
    return {serial for (serial,) in await recording.fetchall()}


def _refuse_reused(batch: list[_Intent], new: set[object]) -> None:
    """Of two intents with one serial in a batch the first was written."""
    for one in batch:
        if one.serial in new:
            new.discard(one.serial)
        else:
            one.error = SerialReused(one.serial)
