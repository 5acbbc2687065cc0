"""Facts about one worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from meshca.app import process as process_module
from meshca.app.control import UsePolicies
from meshca.app.leaf_messages import AskLeaf, GaveLeaf, JudgedLeaf
from meshca.app.process import LeafAnswers, WorkerProcess, launch
from tests.fakes.logs import captured_logs

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fakes" / "worker_process.py"
MUCH = UsePolicies(files={"a.yaml": "x" * 4_000_000})  # more than any socket holds


Give = Callable[[AskLeaf], Awaitable[GaveLeaf]]


class Start(Protocol):
    """Starts a fake worker of a mode."""

    def __call__(self, mode: str, give: Give | None = None) -> Awaitable[WorkerProcess]:
        """Adopted."""
        ...


@pytest.fixture
def verdicts() -> list[JudgedLeaf]:
    """What workers found leaves to be."""
    return []


@pytest.fixture
async def start(verdicts: list[JudgedLeaf]) -> AsyncIterator[Start]:
    """Starts fake workers of a mode; ends them at the end."""
    started: list[WorkerProcess] = []

    async def start_one(mode: str, give: Give | None = None) -> WorkerProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORKER": mode}
        launched = launch(environment, (sys.executable, str(FAKE), mode))
        leaves = None if give is None else LeafAnswers(give, verdicts.append)
        started.append(await WorkerProcess.adopt("w0", launched, leaves))
        return started[-1]

    yield start_one
    for worker in started:
        await worker.kill()


async def test_ready_probe_drain(start: Start) -> None:
    """A worker becomes ready, answers a probe, and ends by itself when drained."""
    worker = await start("serve")
    await worker.ready.wait()
    probed = await worker.probe(10)
    assert (probed.ok, probed.detail) == (True, "serve")
    assert worker.exit_status == "running"
    await worker.drain(10)
    assert worker.exit_status == "exit code 0"


async def test_says_why_it_cannot_start(start: Start) -> None:
    """A worker that cannot start leaves its reason."""
    worker = await start("fail")
    await worker.ended.wait()
    assert worker.failure == "the store is not there"
    assert not worker.ready.is_set()


async def test_crash_is_noticed(start: Start) -> None:
    """A worker that ends without a word has ended."""
    worker = await start("crash")
    await worker.ended.wait()
    assert worker.exit_status == "exit code 3"


async def test_kill(start: Start) -> None:
    """A killed worker has ended, by the signal's name; killing again is no error."""
    worker = await start("serve")
    await worker.kill()
    await worker.kill()
    assert worker.exit_status == "killed by SIGKILL"


async def test_late_probe_fails(start: Start) -> None:
    """A worker that does not answer in time has failed the probe."""
    worker = await start("deaf")
    probed = await worker.probe(0.05)
    assert (probed.ok, probed.answered, probed.detail) == (False, False, "no answer within 0.05 s")


async def test_probe_of_a_dying_worker_fails(start: Start) -> None:
    """A worker that dies while it is asked has failed the probe."""
    worker = await start("deaf")
    probing = asyncio.create_task(worker.probe(30))
    await asyncio.sleep(0)
    await worker.kill()
    assert (await probing).detail == "ended (killed by SIGKILL)"


async def test_past_the_deadline_it_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not end in time after the drain is killed."""
    monkeypatch.setattr(process_module, "EXIT_SECONDS", 0.01)
    worker = await start("deaf")
    await worker.drain(0.01)
    assert worker.exit_status == "killed by SIGKILL"


async def test_hung_worker_is_ended(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that serves but does not take what it is told in time is ended, and the log says so."""
    monkeypatch.setattr(process_module, "TELL_SECONDS", 0.05)
    worker = await start("hung")
    await worker.ready.wait()
    with captured_logs() as logs:
        await asyncio.wait_for(worker.tell(MUCH), 30)
    await worker.ended.wait()
    assert worker.exit_status == "killed by SIGKILL"
    assert [(line["event"], line["pid"]) for line in logs] == [("worker.hung", worker.pid)]


async def test_leaf_for_a_worker_that_drains(start: Start, verdicts: list[JudgedLeaf]) -> None:
    """What is in flight gets its leaf and the verdict is noted, though a worker that drains is told no more."""

    async def answer(question: AskLeaf) -> GaveLeaf:
        return GaveLeaf(id=question.id, leaf=f"a leaf by {question.issuer}")

    worker = await start("asks", answer)
    await worker.ready.wait()
    await worker.drain(30)
    assert (worker.failure, worker.exit_status) == ("a leaf by one", "exit code 0")
    assert verdicts == [JudgedLeaf(identity="web")]


async def test_leaf_that_nobody_waits_for(start: Start) -> None:
    """A question that is taken back before anybody was asked is never asked, and others are answered."""
    asked: list[int] = []

    async def answer(question: AskLeaf) -> GaveLeaf:
        asked.append(question.id)
        return GaveLeaf(id=question.id, leaf="a leaf")

    worker = await start("drops", answer)
    await worker.ready.wait()
    await worker.drain(30)
    assert (asked, worker.failure) == ([1], "a leaf")


async def test_worker_that_is_gone_waits_for_no_leaf(start: Start) -> None:
    """A question of a worker that has ended is given up."""
    asked, given_up = asyncio.Event(), asyncio.Event()

    async def answer(_: AskLeaf) -> GaveLeaf:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    worker = await start("asks", answer)
    await worker.ready.wait()
    draining = asyncio.create_task(worker.drain(30))
    await asked.wait()
    await worker.kill()
    await given_up.wait()
    await draining


async def test_full_channel_delays_no_probe_and_no_drain(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a probe nor a drain waits beyond its own deadline for a worker that reads nothing."""
    monkeypatch.setattr(process_module, "EXIT_SECONDS", 0.01)
    worker = await start("hung")
    await worker.ready.wait()
    worker._channel.post(MUCH)
    assert not (await asyncio.wait_for(worker.probe(0.05), 30)).ok
    await asyncio.wait_for(worker.drain(0.01), 30)
    assert worker.exit_status == "killed by SIGKILL"


async def test_starting_worker_has_time_for_its_briefing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large briefing of a worker that still imports its libraries is no sign that it hangs."""
    monkeypatch.setattr(process_module, "TELL_SECONDS", 0.0)
    worker = await start("deaf")
    await worker.tell(MUCH)
    assert not worker.ended.is_set()
    assert worker.exit_status == "running"


async def test_draining_worker_is_told_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that finishes what is in flight reads no news, and is not ended for that."""
    monkeypatch.setattr(process_module, "TELL_SECONDS", 0.0)
    worker = await start("hung")
    await worker.ready.wait()
    draining = asyncio.create_task(worker.drain(60))
    await asyncio.sleep(0)
    await worker.tell(MUCH)
    assert (worker.exit_status, draining.done()) == ("running", False)
    await worker.kill()
    await draining


async def test_telling_a_gone_worker_is_quiet(start: Start) -> None:
    """What a worker is told after its end is lost without a sound."""
    worker = await start("serve")
    await worker.kill()
    await worker.tell(MUCH)


async def test_orphan_ends(start: Start) -> None:
    """A worker whose parent is gone reads the end of the channel and ends."""
    worker = await start("serve")
    await worker.ready.wait()
    await worker._channel.close()
    await worker.ended.wait()
    assert worker.exit_status == "exit code 4"


def test_discarded_before_its_briefing() -> None:
    """A process that was launched for nothing is ended."""
    launched = launch(dict(os.environ), (sys.executable, "-c", "import time; time.sleep(60)"))
    launched.discard()
    assert launched.process.returncode == -9


def test_launch_that_fails_leaves_nothing() -> None:
    """When the process cannot be had, its channel is closed."""
    with pytest.raises(OSError, match="No such file"):
        launch({}, ("/nowhere",))


async def test_no_descriptor_to_watch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its end could not be noticed, the process is ended at once."""

    def none_left(_: int) -> int:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    launched = launch(dict(os.environ), (sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(OSError, match="too many"):
        await WorkerProcess.adopt("w0", launched)
    assert launched.process.returncode == -9
