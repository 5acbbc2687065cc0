"""Facts about keeping workers alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshca.app import supervisor as supervisor_module
from meshca.app.control import Drain, Probe
from meshca.app.supervisor import BACKOFF, STEADY
from meshca.errors import Unavailable
from tests.fakes.house import House, settle


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


async def test_process_ids_of_workers_that_have_not_ended(house: House) -> None:
    """A worker that ends is not among them any more, whoever gets its number."""
    first, second = house.workers
    assert sorted(house.supervisor.pids()) == sorted([first.pid, second.pid])
    first.end("exit code 1")
    assert list(house.supervisor.pids()) == [second.pid]


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


async def test_refill_that_never_serves_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is started after a crash and hangs before it serves is ended; another is started later."""
    monkeypatch.setattr(supervisor_module, "READY_SECONDS", 0.01)
    house.serves = False
    house.workers[0].end("exit code 1")
    await settle()
    await house.clock.advance(BACKOFF.floor)
    await house.workers[2].ended.wait()
    house.serves = True
    await settle()
    await house.clock.advance(BACKOFF.ceiling)
    assert house.names == ["w0", "w1", "w0", "w0"]
    assert [state.ready for state in await house.supervisor.states()] == [True, True]


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


async def test_news_reach_workers_that_are_starting(house: House) -> None:
    """A worker that was briefed and does not serve yet is told as well, after its briefing."""
    house.serves = False
    replacing = asyncio.create_task(house.replace())
    await settle()
    await house.supervisor.tell_all(Probe(id=7))
    assert [worker.told[-1] for worker in house.workers] == [Probe(id=7)] * 4
    assert house.workers[2].told[:-1] == house.briefing("w2")
    for worker in house.workers:
        worker.ready.set()
    await replacing


async def test_news_reach_restarted_workers_that_are_starting(house: House) -> None:
    """So is one that follows a crashed one; the crashed one is told nothing."""
    house.workers[0].end("exit code 1")
    house.serves = False
    await settle()
    await house.clock.advance(BACKOFF.floor)
    await house.supervisor.tell_all(Probe(id=7))
    assert house.workers[0].told == house.briefing("w0")
    assert house.workers[2].told == [*house.briefing("w0"), Probe(id=7)]


async def test_replacement_is_of_all(house: House) -> None:
    """Every worker is followed by a fresh one; all of these serve before the old ones are drained."""
    await house.replace()
    assert house.names == ["w0", "w1", "w2", "w3"]
    assert [worker.ended.is_set() for worker in house.workers] == [True, True, False, False]
    assert [worker.told[-1] for worker in house.workers[:2]] == [Drain(seconds=5, replaced=True)] * 2
    await settle()
    await house.clock.advance(BACKOFF.ceiling)
    assert len(house.workers) == 4


@pytest.mark.parametrize("which", [2, 3], ids=["first", "second"])
async def test_failed_replacement_keeps_the_old(house: House, which: int) -> None:
    """When a fresh worker does not serve, nothing has changed: no old one is gone, no fresh one is left."""
    house.serves = False
    replacing = asyncio.create_task(house.replace())
    await settle()
    house.workers[5 - which].ready.set()
    await settle()
    house.workers[which].end("exit code 1", "bad keys")
    with pytest.raises(Unavailable, match="bad keys"):
        await replacing
    assert [worker.ended.is_set() for worker in house.workers] == [False, False, True, True]
    assert [state.name for state in await house.supervisor.states()] == ["w0", "w1"]
    assert sorted(house.gone) == ["w2", "w3"]


@pytest.mark.parametrize("fails_after", [2, 3], ids=["first", "second"])
async def test_replacement_that_cannot_be_spawned(house: House, fails_after: int) -> None:
    """When no process can be had for a fresh worker, that is said, and the old ones stay; later it works."""
    house.fails_after = fails_after
    with pytest.raises(Unavailable, match="cannot be started now: try again"):
        await house.replace()
    assert [worker.ended.is_set() for worker in house.workers] == [False, False, True][:fails_after]
    house.fails_after = -1
    await house.replace()
    assert [worker.ended.is_set() for worker in house.workers[-2:]] == [False, False]


async def test_start_that_cannot_be_spawned() -> None:
    """A start for which no process can be had is refused in our own words."""
    house = House()
    house.failing = True
    with pytest.raises(Unavailable, match="cannot be started now"):
        await house.supervisor.start()


async def test_stop_while_replacing(house: House) -> None:
    """A replacement that is given up leaves no fresh worker; stopping drains the old ones."""
    house.serves = False
    replacing = asyncio.create_task(house.replace())
    await settle()
    replacing.cancel()
    await settle()
    await house.supervisor.stop(3)
    assert all(worker.ended.is_set() for worker in house.workers)
    assert [worker.exit_status for worker in house.workers] == ["exit code 0"] * 2 + ["killed by SIGKILL"] * 2


async def test_replaced_worker_is_kept_alive(house: House) -> None:
    """A worker that replaced another is restarted when it crashes."""
    await house.replace()
    await settle()
    house.workers[2].end("exit code 1")
    await settle()
    await house.clock.advance(BACKOFF.floor)
    assert len(house.workers) == 5


async def test_states(house: House) -> None:
    """Every worker is told of."""
    house.workers[0].end("exit code 1")
    assert [state.detail for state in await house.supervisor.states()] == ["exit code 1", ""]


async def test_worker_that_cannot_be_restarted_says_why(house: House) -> None:
    """Until one can be."""
    house.failing = True
    house.workers[0].end("killed by SIGKILL")
    await settle()
    assert (await house.supervisor.states())[0].detail == "killed by SIGKILL"
    await house.clock.advance(1)
    trouble = "cannot be restarted: a worker cannot be started now: try again"
    assert (await house.supervisor.states())[0].detail == trouble
    house.failing = False
    await house.clock.advance(BACKOFF.ceiling)
    assert (await house.supervisor.states())[0].ready


async def test_stop_drains_all_and_restarts_none(house: House) -> None:
    """Stopping drains every worker and starts no other."""
    await house.supervisor.stop(3)
    await house.clock.advance(BACKOFF.ceiling)
    assert [worker.told[-1] for worker in house.workers] == [Drain(seconds=3)] * 2
    assert len(house.workers) == 2
