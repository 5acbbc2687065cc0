"""Facts about keeping workers alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from meshca.app.control import Drain, Message, Probe, Probed, UsePolicies
from meshca.app.supervisor import BACKOFF, STEADY, Supervisor
from meshca.errors import Unavailable
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
        if serves:
            self.ready.set()

    async def tell(self, *messages: Message) -> None:
        """Remember."""
        self.told += messages

    async def probe(self, seconds: float) -> Probed:
        """Always fine."""
        return Probed(id=0, ok=True)

    async def drain(self, seconds: float) -> None:
        """End by itself."""
        self.told.append(Drain(seconds=seconds))
        self.end("exit code 0")

    async def kill(self) -> None:
        """End at once."""
        self.end("killed by SIGKILL")

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
        self.supervisor = Supervisor(
            count=count,
            spawn=self.spawn,
            briefing=self.briefing,
            gone=lambda worker: self.gone.append(worker.name),
            clock=self.clock,
            rng=self.jitter,
        )

    async def spawn(self, name: str) -> FakeWorker:
        """Start a fake."""
        await asyncio.sleep(0)
        if self.failing:
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


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A house of two workers that serve."""
    made = House()
    await made.supervisor.start()
    yield made
    await made.supervisor.kill()


async def test_each_place_has_a_briefed_worker(house: House) -> None:
    """Every place is filled by a worker of its own name, told what the briefing says."""
    assert house.names == ["w0", "w1"]
    assert [worker.told for worker in house.workers] == [house.briefing("w0"), house.briefing("w1")]


async def test_crashed_worker_is_replaced(house: House) -> None:
    """A worker that ends is followed by another of the same name, after a delay."""
    house.workers[0].end("exit code 1")
    await settle()
    assert house.gone == ["w0"]
    assert len(house.workers) == 2
    await house.clock.advance(BACKOFF.floor)
    assert house.names == ["w0", "w1", "w0"]
    assert [state.restarts for state in await house.supervisor.states()] == [1, 0]


async def test_crash_loop_backs_off(house: House) -> None:
    """Each further crash doubles the delay, up to a bound."""
    house.jitter.part = 1.0
    delays: list[float] = []
    for _ in range(12):
        house.workers[-1].end("exit code 1")
        await settle()
        before, count = house.clock.monotonic(), len(house.workers)
        while len(house.workers) == count:
            await house.clock.advance(0.05)
        delays.append(house.clock.monotonic() - before)
    assert delays[:3] == pytest.approx([2 * BACKOFF.floor, 4 * BACKOFF.floor, 8 * BACKOFF.floor], abs=0.06)
    assert delays[-1] == pytest.approx(BACKOFF.ceiling, abs=0.06)


async def test_steady_service_forgives(house: House) -> None:
    """A crash long after the last one is answered without a long delay."""
    for _ in range(6):
        house.workers[-1].end("exit code 1")
        await settle()
        await house.clock.advance(BACKOFF.ceiling)
    await house.clock.advance(STEADY + 1)
    house.jitter.part = 1.0
    house.workers[-1].end("exit code 1")
    await settle()
    count = len(house.workers)
    await house.clock.advance(2 * BACKOFF.floor)
    assert len(house.workers) == count + 1


async def test_spawning_that_fails_is_tried_again(house: House) -> None:
    """When no process can be had, the place is filled later."""
    house.failing = True
    house.workers[0].end("exit code 1")
    await settle()
    await house.clock.advance(1)
    house.failing = False
    await house.clock.advance(BACKOFF.ceiling)
    assert house.names == ["w0", "w1", "w0"]


async def test_start_fails_with_the_workers_reason() -> None:
    """A worker that ends instead of serving fails the start, in its own words."""
    house = House(count=1)
    house.serves = False
    starting = asyncio.create_task(house.supervisor.start())
    await settle()
    house.workers[0].end("exit code 1", "the store is not there")
    with pytest.raises(Unavailable, match="the store is not there"):
        await starting
    await house.supervisor.kill()


async def test_start_names_the_signal() -> None:
    """A worker that was killed while starting is named by its signal."""
    house = House(count=1)
    house.serves = False
    starting = asyncio.create_task(house.supervisor.start())
    await settle()
    house.workers[0].end("killed by SIGKILL")
    with pytest.raises(Unavailable, match="killed by SIGKILL"):
        await starting
    await house.supervisor.kill()


async def test_news_reach_every_worker(house: House) -> None:
    """A message to all reaches each worker."""
    await house.supervisor.tell_all(Probe(id=7))
    assert all(worker.told[-1] == Probe(id=7) for worker in house.workers)


async def test_replacement_goes_one_by_one(house: House) -> None:
    """Every worker is followed by a fresh one that serves before the old one is drained."""
    await house.supervisor.replace(5)
    assert house.names == ["w0", "w1", "w2", "w0"]
    assert [worker.ended.is_set() for worker in house.workers] == [True, True, False, False]
    assert house.workers[0].told[-1] == Drain(seconds=5)
    await settle()
    await house.clock.advance(BACKOFF.ceiling)
    assert len(house.workers) == 4


async def test_failed_replacement_keeps_the_old(house: House) -> None:
    """When the first fresh worker does not serve, nothing has changed."""
    house.serves = False
    replacing = asyncio.create_task(house.supervisor.replace(5))
    await settle()
    house.workers[-1].end("exit code 1", "bad keys")
    with pytest.raises(Unavailable, match="bad keys"):
        await replacing
    assert [worker.ended.is_set() for worker in house.workers] == [False, False, True]


async def test_replaced_worker_is_kept_alive(house: House) -> None:
    """A worker that replaced another is restarted when it crashes."""
    await house.supervisor.replace(5)
    await settle()
    house.workers[2].end("exit code 1")
    await settle()
    await house.clock.advance(BACKOFF.floor)
    assert len(house.workers) == 5


async def test_states(house: House) -> None:
    """A worker that serves is probed; one that starts or has ended is not ready."""
    house.workers[0].ready.clear()
    first, second = await house.supervisor.states()
    assert (first.ready, first.detail) == (False, "starting")
    assert second.ready
    house.workers[0].ready.set()
    house.workers[0].end("exit code 1")
    assert [state.detail for state in await house.supervisor.states()] == ["ended", ""]


async def test_stop_drains_all_and_restarts_none(house: House) -> None:
    """Stopping drains every worker and starts no other."""
    await house.supervisor.stop(3)
    await house.clock.advance(BACKOFF.ceiling)
    assert [worker.told[-1] for worker in house.workers] == [Drain(seconds=3)] * 2
    assert len(house.workers) == 2
