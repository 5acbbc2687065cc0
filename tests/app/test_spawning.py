"""Facts about where workers come from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from meshca.app import process, spawning
from meshca.app.leaf_messages import AskLeaf, GaveLeaf
from meshca.app.spawning import Spawning

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fakes" / "worker_process.py"


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Spawning:
    """Spawns fakes in place of workers."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = (sys.executable, str(FAKE), "serve")
    monkeypatch.setattr(spawning, "launch", lambda environment: process.launch(environment, command))
    return Spawning(tmp_path)


async def test_early_ones_are_used(fakes: Spawning) -> None:
    """A worker that was launched early is the one that is spawned; another name gets a new process."""
    with fakes.early(1):
        early = {launched.process.pid for launched in fakes._early.values()}
        first, other = await fakes.spawn("w0"), await fakes.spawn("w1")
    assert {first.pid} == early
    assert other.pid not in early
    for worker in (first, other):
        await worker.ready.wait()
        await worker.kill()


async def test_unused_ones_are_ended(fakes: Spawning) -> None:
    """Workers that nobody asked for are gone at the end of the block."""
    with fakes.early(2):
        pids = [launched.process.pid for launched in fakes._early.values()]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_environment_names_the_worker(
    fakes: Spawning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's environment names the folder of metrics and itself."""
    seen: list[dict[str, str]] = []

    def remember(environment: dict[str, str]) -> process.Launched:
        seen.append(environment)
        return process.launch(environment, (sys.executable, str(FAKE), "serve"))

    monkeypatch.setattr(spawning, "launch", remember)
    await (await fakes.spawn("w7")).kill()
    assert (seen[0]["PROMETHEUS_MULTIPROC_DIR"], seen[0]["MESHCA_PROCESS_NAME"]) == (str(tmp_path), "w7")


async def test_whoever_has_leaves_signed(fakes: Spawning) -> None:
    """A worker that is spawned has its leaves signed by whom the spawning was given."""

    async def give(question: AskLeaf) -> GaveLeaf:
        return GaveLeaf(id=question.id)

    fakes.leaves = process.LeafAnswers(give, note=lambda _: None)
    worker = await fakes.spawn("w0")
    assert worker._leaves is fakes.leaves
    await worker.kill()
