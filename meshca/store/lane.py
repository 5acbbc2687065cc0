"""One background thread that works for an event loop, on batches: whatever gathers while it works is the next.

It must never hold up the loop for longer than WINDOW, and never be starved by it: CPython gives the interpreter
lock to a waiting thread only by luck when the running one lets it go and takes it back within microseconds
(bugs.python.org/issue7946), which is what a busy event loop does at every system call; writers were seen waiting
for ten seconds. So, while a batch is under way, the loop steps aside for WINDOW every PAUSE.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from meshca.errors import InvariantBroken, Unavailable
from meshca.log import log

PAUSE: Final = 0.002  # seconds
WINDOW: Final = 0.0003  # seconds
LAZY: Final = 0.01  # seconds that a lazy job waits for others to share their batch
MAX_BATCH: Final = 1024  # jobs


class Job:
    """Something to do; `perform` sets `result` or `error`.

    Attributes:
        future: who waits for it; None when nobody does.
        result: what came of it.
        error: why nothing did.
    """

    __slots__ = ("error", "future", "result")

    def __init__(self, future: asyncio.Future[object] | None) -> None:
        self.future = future
        self.result: object = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell who waits; on the loop."""
        future = self.future
        if future is None or future.done():
            return
        if self.error is None:
            future.set_result(self.result)
        else:
            future.set_exception(self.error)


J = TypeVar("J", bound=Job)


class Lane(Generic[J]):
    """A thread and its queue.

    Made, used and closed on one event loop. The thread starts with the first job.

    Args:
        name: of the thread.
        perform: does a batch, on the thread; must not raise.
        limit: how many jobs may wait.
        gather: seconds that jobs which came during a batch wait for others before they are the next one. A lone
            caller never waits: nothing comes during its batches.
        batch_done: called on the loop after each batch.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[list[J]], None],
        *,
        limit: int,
        gather: float = 0.0,
        batch_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._perform = perform
        self._limit = limit
        self._gather = gather
        self._batch_done = batch_done
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._waiting: list[J] = []
        self._batch: list[J] = []
        self._planned: asyncio.Handle | None = None  # the hand-over to come
        self._lazily = False  # whether that one can be brought forward
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._aside: asyncio.TimerHandle | None = None  # the next step aside, while a batch is under way
        # Plain locks as signals: one C call each, where Condition and Semaphore are Python.
        self._work = threading.Lock()
        self._finished = threading.Lock()
        self._work.acquire()
        self._finished.acquire()

    def __len__(self) -> int:
        """How many jobs wait or are under way."""
        return len(self._waiting) + len(self._batch)

    def put(self, job: J, *, lazily: bool = False) -> None:
        """Queue a job for the next batch.

        Args:
            job: what to do.
            lazily: nobody waits for it: it may wait LAZY for company, and counts against no limit.

        Raises:
            Unavailable: reason `store`, when the queue is full or the lane is closed.
        """
        if self._stopping:
            raise Unavailable("store", "the store is closed")
        if not lazily and len(self._waiting) >= self._limit:
            raise Unavailable("store", f"{self._limit} jobs wait already; the disk or this process is too slow")
        self._waiting.append(job)
        if not self._batch and (self._planned is None or (self._lazily and not lazily)):
            self._plan(lazily=lazily)

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._stopping = True
        if self._lazily:
            self._plan(lazily=False)
        await self._idle.wait()
        if self._thread.is_alive():
            self._work.release()
            await asyncio.to_thread(self._thread.join)

    def _plan(self, *, lazily: bool) -> None:
        if self._planned is not None:
            self._planned.cancel()
        self._lazily = lazily
        self._idle.clear()
        if lazily:
            self._planned = self._loop.call_later(LAZY, self._hand_over)
        else:  # not at once: what the other tasks of this turn of the loop bring comes along
            self._planned = self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._planned = None
        self._lazily = False
        self._batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        if self._thread.ident is None:
            self._thread.start()
        self._work.release()
        self._aside = self._loop.call_later(PAUSE, self._step_aside)

    def _step_aside(self) -> None:
        if self._finished.acquire(timeout=WINDOW):
            self._finished.release()  # `_complete` is already on its way and takes it
        else:
            self._aside = self._loop.call_later(PAUSE, self._step_aside)

    def _run(self) -> None:
        while True:
            self._work.acquire()
            if not self._batch:
                return
            self._perform_all(self._batch)
            self._finished.release()
            try:
                self._loop.call_soon_threadsafe(self._complete)
            except RuntimeError:  # the loop was closed without closing this lane: nobody waits any more
                return

    def _perform_all(self, batch: list[J]) -> None:
        try:
            self._perform(batch)
        except Exception as error:  # noqa: BLE001 - the outermost layer of a thread: who waits must be told
            log.error("store.thread_failed", thread=self._thread.name, exc_info=error)
            for job in batch:
                job.error = InvariantBroken("store", "the store's thread met an error that it does not know")

    def _complete(self) -> None:
        self._finished.acquire()
        if self._aside is not None:
            self._aside.cancel()
        batch, self._batch = self._batch, []
        if self._waiting:
            self._planned = self._loop.call_later(self._gather, self._hand_over)
        else:
            self._idle.set()
        for job in batch:
            job.settle()
        self._batch_done()
