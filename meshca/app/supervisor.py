"""Keeps the workers' places filled: starts them, restarts the crashed ones, replaces all of them or none.

Knows nothing of what workers do; what a fresh one is told comes from `briefing`. A crash is answered by a
restart with exponential backoff, for ever: a server that gave up would need an operator at night.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from meshca import metrics
from meshca.app.control import Message
from meshca.app.place import Place, Worker, WorkerState
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.log import log

BACKOFF: Final = Backoff(floor=0.1, ceiling=30.0)  # before a crashed worker is restarted
STEADY: Final = 60.0  # seconds of service after which earlier crashes are forgotten
READY_SECONDS: Final = 60.0  # for a fresh worker to serve; imports take most of it on a loaded machine


Briefing = Callable[[str], Sequence[Message]]  # what a worker of this name is told, as of now


class Supervisor:
    """All workers of a server.

    Args:
        count: of places.
        spawn: starts a worker of this name, not yet briefed.
        briefing: what a fresh worker is told, as of now.
        gone: called with each worker that has ended, once.
        clock: for delays.
        rng: the source of their jitter.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        count: int,
        spawn: Callable[[str], Awaitable[Worker]],
        briefing: Briefing,
        gone: Callable[[Worker], None],
        clock: Clock,
        rng: random.Random = JITTER,
    ) -> None:
        self._count = count
        self._spawn = spawn
        self._briefing = briefing
        self._gone = gone
        self._clock = clock
        self._rng = rng
        self._places: list[Place] = []
        self._names: dict[str, Worker | None] = {}  # in use; None while its worker is being started
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Fill every place, and return once all workers serve.

        Raises:
            Unavailable: reason `worker`, when one cannot be had, or ends instead, with its own words.
        """
        self._places = [Place(worker) for worker in await self.prepare(self._briefing)]
        self._keepers = [asyncio.create_task(self._keep(place)) for place in self._places]
        metrics.workers_ready.set(self._count)

    async def tell_all(self, *messages: Message) -> None:
        """Send messages to every worker that was briefed; others learn them from their briefing."""
        await asyncio.gather(*(worker.tell(*messages) for worker in self._alive()))

    async def prepare(self, briefing: Briefing) -> Sequence[Worker]:
        """A fresh worker for every place, all serving beside those that are there; give them to `replace`.

        Args:
            briefing: what they are told; it must say of itself what `tell_all` was given before.

        Raises:
            Unavailable: reason `worker`, when one cannot be had or does not serve; all fresh ones are gone.
        """
        tasks = [asyncio.create_task(self._fresh(briefing)) for _ in range(self._count)]
        try:
            return await asyncio.gather(*tasks)
        except (Unavailable, asyncio.CancelledError):
            for task in tasks:
                task.cancel()
            for made in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(made, BaseException):
                    await self._end(made)
            raise

    async def replace(self, fresh: Sequence[Worker], drain_seconds: float) -> None:
        """Give every place its prepared worker at once, then drain the old ones together."""
        old = [place.worker for place in self._places]
        for place, worker in zip(self._places, fresh, strict=True):
            place.fill(worker)
        await asyncio.gather(*(worker.drain(drain_seconds, replaced=True) for worker in old))
        for worker in old:
            self._forget(worker)

    async def states(self) -> Sequence[WorkerState]:
        """Every worker, asked now to prove that it works."""
        states = await asyncio.gather(*(place.state() for place in self._places))
        metrics.workers_ready.set(sum(state.ready for state in states))
        return states

    def end_hung(self, pid: int, detail: str) -> None:
        """End a worker of a place because it does nothing any more; its keeper starts another."""
        for place in self._places:
            if place.worker.pid == pid:
                place.worker.end_hung(detail)

    async def stop(self, drain_seconds: float) -> None:
        """Drain all workers at the same time and see them gone."""
        self._stop_keeping()
        await asyncio.gather(*(worker.drain(drain_seconds) for worker in self._alive()))

    def pids(self) -> Sequence[int]:
        """Process ids of the workers that have not ended."""
        return [worker.pid for worker in self._alive()]

    async def kill(self) -> None:
        """End all workers at once."""
        self._stop_keeping()
        await asyncio.gather(*(worker.kill() for worker in self._alive()))

    def _stop_keeping(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()

    def _alive(self) -> list[Worker]:
        """Every worker that was briefed and has not ended, in a place or on its way to or from one."""
        return [worker for worker in self._names.values() if worker is not None and not worker.ended.is_set()]

    async def _fresh(self, briefing: Briefing) -> Worker:
        """A worker that serves, or none at all."""
        worker = await self._launch(briefing)
        try:
            await self._serving(worker)
        except (Unavailable, asyncio.CancelledError):
            await self._end(worker)
            raise
        return worker

    async def _launch(self, briefing: Briefing) -> Worker:
        """A worker that is briefed; between its spawning and its briefing nobody else can speak to it.

        Raises:
            Unavailable: reason `worker`: no process or descriptor can be had now.
        """
        name = next(name for number in range(2 * self._count) if (name := f"w{number}") not in self._names)
        self._names[name] = None
        try:
            worker = self._names[name] = await self._spawn(name)
        except OSError as error:
            raise Unavailable("worker", f"a worker cannot be started now: {error.strerror}") from None
        finally:
            if self._names[name] is None:
                del self._names[name]
        try:
            await worker.tell(*briefing(name))
        except asyncio.CancelledError:
            await self._end(worker)
            raise
        return worker

    async def _end(self, worker: Worker) -> None:
        await worker.kill()
        self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        """The name of a worker that has ended is free for another, once."""
        if self._names.get(worker.name) is worker:
            del self._names[worker.name]
            self._gone(worker)

    async def _serving(self, worker: Worker) -> None:
        """Return once it serves."""
        waits = [asyncio.create_task(event.wait()) for event in (worker.ready, worker.ended)]
        try:
            await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if worker.ended.is_set():
            raise Unavailable("worker", worker.failure or f"a worker ended while starting: {worker.exit_status}")
        if not worker.ready.is_set():
            raise Unavailable("worker", f"a worker did not serve within {READY_SECONDS:g} s")

    async def _keep(self, place: Place) -> None:
        crashes = 0
        while True:
            worker = place.worker
            started = self._clock.monotonic()
            await worker.ended.wait()
            self._forget(worker)
            if place.worker is not worker:
                continue  # it was replaced
            if self._clock.monotonic() - started > STEADY:
                crashes = 0
            log.error(
                "worker.ended",
                worker=worker.name,
                pid=worker.pid,
                status=worker.exit_status,
                detail=worker.failure,
            )
            while place.worker is worker:
                crashes += 1
                await self._clock.sleep(BACKOFF.pause(crashes, self._rng))
                await self._refill(place, worker)

    async def _refill(self, place: Place, ended: Worker) -> None:
        if place.worker is not ended:  # replaced while we waited
            return
        try:
            fresh = await self._fresh(self._briefing)
        except Unavailable as error:
            log.error("worker.not_started", detail=error.detail)
            place.trouble = f"cannot be restarted: {error.detail}"
            return
        if place.worker is not ended:  # replaced while we started another
            await self._end(fresh)
            return
        place.fill(fresh)
        place.restarts += 1
        metrics.worker_restarts.inc()
