"""One thread, batches, and an event loop that steps aside."""

from __future__ import annotations

import asyncio
import threading

import pytest

from meshca.errors import InvariantBroken, Unavailable
from meshca.store import lane as subject
from meshca.store.lane import Job, Lane
from tests.fakes.logs import captured_logs


class Gate:
    """Work that keeps each batch until the test opens the gate."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.started = threading.Event()
        self.open = threading.Event()

    def perform(self, batch: list[Job]) -> None:
        """Count, then wait."""
        self.batches.append(len(batch))
        self.started.set()
        self.open.wait()


def waiting_job() -> Job:
    """A job that somebody waits for."""
    return Job(asyncio.get_running_loop().create_future())


async def put(lane: Lane[Job]) -> object:
    """Queue a job and wait for it."""
    job = waiting_job()
    lane.put(job)
    assert job.future is not None
    return await job.future


def thread_name(batch: list[Job]) -> None:
    """Work that says where it is done."""
    for job in batch:
        job.result = threading.current_thread().name


async def test_work_is_done_on_a_thread_of_its_own() -> None:
    """Not on the loop's."""
    lane: Lane[Job] = Lane("elsewhere", thread_name, limit=10)
    assert await put(lane) == "elsewhere"
    await lane.close()


async def test_jobs_of_one_turn_share_a_batch() -> None:
    """However many tasks bring them."""
    gate = Gate()
    gate.open.set()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=1000)
    await asyncio.gather(*(put(lane) for _ in range(1000)))
    assert gate.batches == [1000]
    await lane.close()


async def test_what_gathers_during_a_batch_is_the_next() -> None:
    """One batch at a time, in order."""
    gate = Gate()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=100)
    first = asyncio.ensure_future(put(lane))
    await asyncio.to_thread(gate.started.wait)
    rest = [asyncio.ensure_future(put(lane)) for _ in range(20)]
    await asyncio.sleep(0)
    assert len(lane) == 21
    gate.open.set()
    await asyncio.gather(first, *rest)
    assert (gate.batches, len(lane)) == ([1, 20], 0)
    await lane.close()


async def test_what_came_during_a_batch_waits_for_company() -> None:
    """With many callers, those that come soon after share the next batch instead of having one each."""
    gate = Gate()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=100, gather=0.05)
    first = asyncio.ensure_future(put(lane))
    await asyncio.to_thread(gate.started.wait)
    second = asyncio.ensure_future(put(lane))
    await asyncio.sleep(0)
    gate.open.set()
    await first
    third = asyncio.ensure_future(put(lane))
    await asyncio.gather(second, third)
    assert gate.batches == [1, 2]
    await lane.close()


async def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction must not grow without end."""
    monkeypatch.setattr(subject, "MAX_BATCH", 8)
    gate = Gate()
    gate.open.set()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=100)
    await asyncio.gather(*(put(lane) for _ in range(20)))
    assert gate.batches == [8, 8, 4]
    await lane.close()


async def test_a_full_queue_refuses() -> None:
    """Memory is bounded; lazy jobs follow from jobs that were let in."""
    gate = Gate()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=2)
    waiting = [asyncio.ensure_future(put(lane)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as caught:
        lane.put(waiting_job())
    assert caught.value.reason == "store"
    lane.put(Job(None), lazily=True)
    gate.open.set()
    await asyncio.gather(*waiting)
    await lane.close()
    assert sum(gate.batches) == 3


async def test_a_lazy_job_shares_the_batch_of_the_next_job() -> None:
    """Nobody waits for it, so it costs no commit of its own."""
    gate = Gate()
    gate.open.set()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=10)
    lane.put(Job(None), lazily=True)
    await put(lane)
    assert gate.batches == [2]
    await lane.close()


async def test_a_lazy_job_is_done_without_company() -> None:
    """A little later."""
    done = asyncio.Event()
    gate = Gate()
    gate.open.set()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=10, batch_done=done.set)
    lane.put(Job(None), lazily=True)
    lane.put(Job(None), lazily=True)
    await done.wait()
    assert gate.batches == [2]
    await lane.close()


async def test_closing_does_what_waits() -> None:
    """Lazy jobs included; afterwards it refuses."""
    gate = Gate()
    gate.open.set()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=10)
    lane.put(Job(None), lazily=True)
    await lane.close()
    assert gate.batches == [1]
    with pytest.raises(Unavailable):
        lane.put(Job(None), lazily=True)


async def test_a_lane_that_was_never_used_closes() -> None:
    """Without having started a thread."""
    await Lane("unused", thread_name, limit=10).close()


async def test_a_job_whose_caller_left_is_settled_quietly() -> None:
    """Cancelled while the batch was under way."""
    gate = Gate()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=10)
    task = asyncio.ensure_future(put(lane))
    await asyncio.to_thread(gate.started.wait)
    task.cancel()
    gate.open.set()
    await lane.close()
    assert task.cancelled()


async def test_an_error_of_the_thread_reaches_who_waits() -> None:
    """The thread lives on."""

    def perform(batch: list[Job]) -> None:
        if len(batch) == 1:
            raise KeyError("a bug")

    lane: Lane[Job] = Lane("buggy", perform, limit=10)
    with captured_logs() as logs, pytest.raises(InvariantBroken) as caught:
        await put(lane)
    assert (caught.value.reason, [line["event"] for line in logs]) == ("store", ["store.thread_failed"])
    assert list(await asyncio.gather(put(lane), put(lane))) == [None, None]
    await lane.close()


async def test_a_busy_loop_steps_aside_for_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again while a batch is under way, else the thread may never get the interpreter lock."""
    gate = Gate()
    lane: Lane[Job] = Lane("gate", gate.perform, limit=10)
    steps = 0
    step_aside = lane._step_aside

    def counted() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            gate.open.set()
        step_aside()

    monkeypatch.setattr(lane, "_step_aside", counted)
    task = asyncio.ensure_future(put(lane))
    while not task.done():  # noqa: ASYNC110 - a loop that is never idle is the point
        await asyncio.sleep(0)
    assert steps >= 3
    await lane.close()


def test_a_loop_that_ends_without_closing_ends_the_thread() -> None:
    """Quietly: nobody waits any more."""
    gate = Gate()
    lanes: list[Lane[Job]] = []

    async def leave() -> None:
        lanes.append(Lane("left", gate.perform, limit=10))
        lanes[0].put(Job(None))
        await asyncio.to_thread(gate.started.wait)

    asyncio.run(leave())
    gate.open.set()
    lanes[0]._thread.join()
    assert gate.batches == [1]
