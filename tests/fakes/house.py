"""A supervisor whose workers are not processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meshca.app.control import Drain, Message, Probed, UsePolicies
from meshca.app.supervisor import Supervisor
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter


class FakeWorker:
    """A worker without a process."""

    def __init__(self, name: str, pid: int, *, serves: bool = True) -> None:
        self.name = name
        self.pid = pid
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure = ""
        self.told: list[Message] = []
        self.exit_status = "running"
        self.answer = Probed(id=0, ok=True)
        if serves:
            self.ready.set()

    async def tell(self, *messages: Message) -> None:
        """Remember."""
        self.told += messages

    async def probe(self, seconds: float) -> Probed:
        """As the test has set it."""
        return self.answer

    async def drain(self, seconds: float, *, replaced: bool = False) -> None:
        """End by itself."""
        self.told.append(Drain(seconds=seconds, replaced=replaced))
        self.end("exit code 0")

    async def kill(self) -> None:
        """End at once."""
        self.end("killed by SIGKILL")

    def end_hung(self, detail: str) -> None:
        """End at once, and say why."""
        self.end("killed by SIGKILL", detail)

    def end(self, status: str, failure: str = "") -> None:
        """The process is gone."""
        self.exit_status = status
        self.failure = failure
        self.ended.set()


class House:
    """A supervisor of fake workers."""

    def __init__(self, count: int = 2) -> None:
        self.clock = FakeClock()
        self.jitter = Jitter(0.0)
        self.workers: list[FakeWorker] = []
        self.gone: list[str] = []
        self.serves = True
        self.failing = False
        self.fails_after = -1
        self.supervisor = Supervisor(
            count=count,
            spawn=self.spawn,
            briefing=self.briefing,
            gone=lambda worker: self.gone.append(worker.name),
            clock=self.clock,
            rng=self.jitter,
        )

    async def replace(self) -> None:
        """Replace every worker, as a reload does."""
        await self.supervisor.replace(await self.supervisor.prepare(self.briefing), 5)

    async def spawn(self, name: str) -> FakeWorker:
        """Start a fake."""
        await asyncio.sleep(0)
        if self.failing or len(self.workers) == self.fails_after:
            raise OSError(11, "try again")
        self.workers.append(FakeWorker(name, len(self.workers), serves=self.serves))
        return self.workers[-1]

    def briefing(self, name: str) -> Sequence[Message]:
        """Something that names the worker."""
        return [UsePolicies(files={"name": name})]

    @property
    def names(self) -> list[str]:
        """Of every worker ever started, in order."""
        return [worker.name for worker in self.workers]


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)
