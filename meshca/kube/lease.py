"""Which replica writes: leadership by a Lease, and the fence that every write asks first.

Clocks of machines are never compared (client-go's rule): a lease counts as alive until it has not changed for its
duration, measured here. There is no fencing token in Kubernetes, so the fence is our own time: a leader may write
only while its last renewal is younger than the deadline, and the deadline is shorter than the lease. That time is
counted by a clock that also runs while the process is stopped or the machine sleeps, so a leader that was frozen
finds itself deposed at its first look, before it has asked anybody. What was handed to the kernel in the moment
of the freeze is past the fence; who leads by then sees it and puts it right.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from meshca import metrics
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.api import Conflict
from meshca.log import log

RELEASE_SECONDS: Final = 3.0  # for giving the lease back at the end
_SPREAD: Final = 0.2  # client-go's jitter: tries lie 1 to 1.2 periods apart


class NotLeading(Unavailable):
    """Another replica writes now, or will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """client-go's defaults, in seconds.

    Attributes:
        duration: after which a lease that does not change is free.
        deadline: after which a leader that could not renew stops writing; less than the duration.
        retry: between two looks.
    """

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a Lease says.

    Attributes:
        holder: who leads; empty when it was given back.
        duration: in seconds, as the holder promised; 0 when it says nothing.
        acquired, renewed: by the holder's clock; only ever compared with themselves.
        transitions: how often the holder has changed.
    """

    holder: str
    duration: int
    acquired: datetime | None
    renewed: datetime | None
    transitions: int = 0


class Lock(Protocol):
    """A Lease with compare-and-swap; `kube.lease_lock` has the real one."""

    async def read(self) -> Record:
        """What it says now.

        Raises:
            NotFound: it does not exist.
            Unavailable: it cannot be read.
        """
        ...

    async def create(self, record: Record) -> None:
        """Make it.

        Raises:
            Conflict: somebody was faster.
            Unavailable: it cannot be made.
        """
        ...

    async def update(self, record: Record) -> None:
        """Change it, if it is still as it was last read.

        Raises:
            Conflict: it is not.
            Unavailable: it cannot be changed.
        """
        ...


def steady() -> float:
    """Seconds of a clock that goes on while this process is stopped or the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Election:
    """One candidate; `run` must be running.

    Args:
        lock: the lease.
        identity: ours, which no other process has.
        clock: for pauses, and for the times that people read in the lease.
        times: how long everything takes.
        standing: whether we could do a leader's work; until then the lease is followed and left to others.
        elapsed: the clock of the fence.
        rng: the source of jitter.

    Attributes:
        holder: who led when we last looked; empty when nobody did or nothing is known.
        error: why the lease could not be read or written at the last look; None when it could.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        lock: Lock,
        identity: str,
        clock: Clock,
        times: Times | None = None,
        *,
        standing: Callable[[], bool] = lambda: True,
        elapsed: Callable[[], float] = steady,
        rng: random.Random = JITTER,
    ) -> None:
        self.identity = identity
        self.holder = ""
        self.error: MeshcaError | None = None
        self._lock = lock
        self._clock = clock
        self._times = times or Times()
        self._standing = standing
        self._elapsed = elapsed
        self._rng = rng
        self._observed: Record | None = None
        self._observed_at = 0.0
        self._renewed_at: float | None = None
        self._told = False
        self._gained = asyncio.Event()
        self._lost = asyncio.Event()

    def leading(self) -> bool:
        """Whether we may write at this moment."""
        return self._renewed_at is not None and self._elapsed() - self._renewed_at < self._times.deadline

    def fence(self) -> None:
        """Called right before every write.

        Raises:
            NotLeading: we may not write.
        """
        if not self.leading():
            raise NotLeading("not_leading", "this replica does not lead, or not for certain")

    async def run(self) -> None:
        """Follow the lease, and hold it whenever it is free and we stand for it, for ever."""
        while True:
            await self._turn()
            await self._clock.sleep(self._times.retry * (1.0 + _SPREAD * self._rng.random()))

    async def while_leading(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run this whenever we lead, for ever; it is cancelled when we do not lead any more.

        Raises:
            Exception: whatever the work raises.
        """
        while True:
            await self._gained.wait()
            working = asyncio.ensure_future(work())
            lost = asyncio.ensure_future(self._lost.wait())
            try:
                await asyncio.wait((working, lost), return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
            finally:
                for task in (working, lost):
                    task.cancel()
                await asyncio.gather(working, lost, return_exceptions=True)

    async def release(self) -> None:
        """Give the lease back, if we hold it, so that another replica need not wait for its end."""
        held = self._renewed_at is not None
        self._renewed_at = None
        self._tell()
        if held:
            with contextlib.suppress(MeshcaError, TimeoutError):  # then it ends by itself
                async with asyncio.timeout(RELEASE_SECONDS):
                    record = await self._lock.read()
                    if record.holder == self.identity:
                        await self._lock.update(replace(record, holder="", duration=1))
                        log.info("lease.released", identity=self.identity)

    async def _turn(self) -> None:
        """Look once, and renew or take the lease if that is ours to do."""
        try:
            await self._attempt()
        except Conflict:
            pass  # somebody was faster; the next look tells who
        except MeshcaError as error:
            if self.error is None or str(self.error) != str(error):  # once for each cause
                log.error("lease.failed", reason=error.reason, detail=error.detail)
            self.error = error
        else:
            if self.error is not None:
                log.info("lease.recovered")
            self.error = None
        self._tell()

    async def _attempt(self) -> None:
        asked = self._elapsed()  # before the question: the lease is no younger than this
        now = self._clock.now()
        ours = Record(holder=self.identity, duration=self._times.duration, acquired=now, renewed=now)
        try:
            found = await self._lock.read()
        except NotFound:
            if not self._standing():
                return
            await self._lock.create(ours)
        else:
            self._observe(found)
            if found.holder == self.identity:
                ours = replace(ours, acquired=found.acquired or now, transitions=found.transitions)
            elif self._alive(found) or not self._standing():
                self._renewed_at = None
                return
            else:
                ours = replace(ours, transitions=found.transitions + 1)
            await self._lock.update(ours)
        self.holder = self.identity
        self._renewed_at = asked

    def _observe(self, found: Record) -> None:
        if found != self._observed:
            self._observed, self._observed_at = found, self._elapsed()
        if found.holder != self.holder:
            log.info("lease.holder", holder=found.holder)
        self.holder = found.holder

    def _alive(self, found: Record) -> bool:
        """Whether somebody holds it; a promise of no duration is taken for ours."""
        duration = found.duration if found.duration > 0 else self._times.duration
        return bool(found.holder) and self._elapsed() - self._observed_at < duration

    def _tell(self) -> None:
        """Start or stop what leaders do, at the turn after leadership was won or lost."""
        leading = self.leading()
        metrics.leader.set(leading)
        if leading == self._told:
            return
        self._told = leading
        log.info("lease.acquired" if leading else "lease.lost", identity=self.identity, holder=self.holder)
        if leading:
            self._lost.clear()
            self._gained.set()
        else:
            self._gained.clear()
            self._lost.set()
