"""Facts about one worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from meshca.app import process as process_module
from meshca.app.process import WorkerProcess, launch

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fakes" / "worker_process.py"
Start = Callable[[str], Awaitable[WorkerProcess]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts fake workers of a mode; ends them at the end."""
    started: list[WorkerProcess] = []

    async def start_one(mode: str) -> WorkerProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORKER": mode}
        launched = launch(environment, (sys.executable, str(FAKE), mode))
        started.append(await WorkerProcess.adopt("w0", launched))
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
    assert (probed.ok, probed.detail) == (False, "no answer within 0.05 s")


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
