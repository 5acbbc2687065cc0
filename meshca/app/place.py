"""A worker's place as its supervisor sees it: who works there, dead or alive, and how that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from meshca.app.control import Message, Probed
from meshca.authn.cluster import ClusterState

PROBE_SECONDS: Final = 2.0


class Worker(Protocol):
    """What is needed of a worker; `WorkerProcess` is one."""

    name: str
    pid: int
    ready: asyncio.Event
    ended: asyncio.Event
    failure: str

    @property
    def exit_status(self) -> str:
        """How it ended."""
        ...

    async def tell(self, *messages: Message) -> None:
        """Send messages."""
        ...

    async def probe(self, seconds: float) -> Probed:
        """Ask it to prove that it works."""
        ...

    async def drain(self, seconds: float, *, replaced: bool = False) -> None:
        """Let it finish, then see it gone; its callers may go to another worker when it is replaced."""
        ...

    async def kill(self) -> None:
        """End it at once and see it gone."""
        ...

    def end_hung(self, detail: str) -> None:
        """End it at once because it does nothing any more, and wait for nobody."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """How one worker is, as the parent knows it from its answer to a probe.

    Attributes:
        name: of its place.
        pid: its process.
        ready: whether everything works.
        detail: what does not, empty when ready.
        restarts: how often the place's worker has crashed.
        serving: PEM of its TLS certificate, empty when it did not say.
        silent: that it did not answer at all.
        clusters: how it sees Kubernetes clusters.
    """

    name: str
    pid: int
    ready: bool
    detail: str
    restarts: int
    serving: str = ""
    silent: bool = False
    clusters: Sequence[ClusterState] = ()


class Place:
    """A place that always has a worker, dead or alive.

    Attributes:
        worker: the last one.
        restarts: how often another had to take its place.
        trouble: why no other could, since the last one ended; empty when none has failed.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.restarts = 0
        self.trouble = ""

    def fill(self, worker: Worker) -> None:
        """Let another work here."""
        self.worker = worker
        self.trouble = ""

    async def state(self) -> WorkerState:
        """How it is; a worker that serves is asked now to prove that it works."""
        worker = self.worker
        if worker.ended.is_set():
            probed = Probed(id=0, ok=False, detail=self.trouble or worker.failure or worker.exit_status)
        elif not worker.ready.is_set():
            probed = Probed(id=0, ok=False, detail="starting")
        else:
            probed = await worker.probe(PROBE_SECONDS)
        return WorkerState(
            name=worker.name,
            pid=worker.pid,
            ready=probed.ok,
            detail=probed.detail,
            restarts=self.restarts,
            serving=probed.serving,
            silent=not probed.answered,
            clusters=probed.clusters,
        )
