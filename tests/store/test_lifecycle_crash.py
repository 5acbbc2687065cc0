"""Processes that are killed while they commit: what is loaded is always one whole generation."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from meshca.authority.history import EMPTY, Change, Lifecycle
from meshca.clock import SystemClock
from meshca.store.engine import open_store
from tests.fakes.generations import generation, newest_first
from tests.store.opening import migrated, url_of

KILLS = 12  # a third of a second each
MOST = 40  # generations that a process says before it is killed
EVERY = 100_000  # more changes than there are


def killed(url: str, after: int) -> int:
    """The last generation that a process said; it is killed at some point of a later one.

    Args:
        url: of the store.
        after: so many generations; it does not wait to be read, so how far it is by then is chance.
    """
    command = [sys.executable, "-m", "tests.fakes.lifecycle_process", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.kill()
        said += process.stdout
    assert process.returncode == -9
    return max((int(line) for line in said if line.endswith("\n")), default=0)


async def loaded(url: str) -> tuple[Lifecycle, list[Change]]:
    """What the next process finds."""
    async with open_store(url, SystemClock()) as store:
        return await store.lifecycle.load(), list(await store.lifecycle.changes(EVERY))


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_commit_is_whole_or_not_there(tmp_path: Path, seed: int) -> None:
    """Nothing that was said is lost, no generation is half, and each has exactly its changes."""
    url = url_of(migrated(tmp_path))
    chance = random.Random(seed)
    for _ in range(KILLS):
        said = killed(url, chance.randrange(MOST))
        lifecycle, changes = asyncio.run(loaded(url))
        assert said <= lifecycle.generation
        assert lifecycle == (generation(lifecycle.generation) if lifecycle.generation else EMPTY)
        assert changes == newest_first(lifecycle.generation)
