"""Real disks that are full, limited or read-only, and processes that die: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshca.clock import SystemClock
from meshca.ledger.query import MAX_LIMIT, Query
from meshca.store.engine import open_store
from tests.real.mounts import on_small_disk
from tests.store.opening import migrated, url_of

DATABASE = "meshca.db"


def command(scene: str, path: Path, *more: str) -> list[str]:
    """What runs a scene of the other process."""
    return [sys.executable, "-m", "tests.fakes.ledger_process", scene, str(path), *more]


def steps(run: list[str]) -> list[dict[str, Any]]:
    """What a scene says."""
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_recovered(said: list[dict[str, Any]]) -> str:
    """Everything recorded was found again, and writing went on; the words of the refusal."""
    refused, found = said
    assert refused["recorded"] > 0
    assert found == {"intents": refused["recorded"], "outcomes": refused["recorded"], "last": True}
    words: str = refused["refused"]
    return words


async def recorded(path: Path) -> set[str]:
    """The serials in a file."""
    async with open_store(url_of(path), SystemClock()) as store:
        return {one.intent.serial for one in await store.ledger.query(Query(limit=MAX_LIMIT))}


@pytest.mark.real("mounts")
def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """Without a restart, once there is room."""
    said = steps(on_small_disk(tmp_path, 1024, command("full_disk", tmp_path / DATABASE)))
    assert "the disk is full; make room" in check_recovered(said)


def test_a_file_size_limit_refuses_and_recovers(tmp_path: Path) -> None:
    """As a quota would."""
    said = steps(command("file_size_limit", tmp_path / DATABASE))
    assert "the disk failed to read or write; check it, its quota and the file size limit" in check_recovered(said)


@pytest.mark.real("mounts")
def test_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    """At start, by parent and worker, with what to do."""
    said = steps(on_small_disk(tmp_path, 1024, command("read_only", tmp_path / DATABASE)))
    assert [("writable" in step["refused"], "opened" in step) for step in said] == [(True, False)] * 2


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """By several processes at once; at most the outcomes of the last moment are unknown."""
    path = migrated(tmp_path)
    processes = [
        subprocess.Popen(command("write_until_killed", path, str(number)), stdout=subprocess.PIPE, text=True)
        for number in (10, 11)
    ]
    acknowledged: list[str] = []
    for process in processes:
        assert process.stdout is not None
        acknowledged += [json.loads(process.stdout.readline())["serial"] for _ in range(50)]
        process.kill()
    for process in processes:
        rest, _ = process.communicate()
        acknowledged += [json.loads(line)["serial"] for line in rest.splitlines() if line.endswith("}")]
    assert asyncio.run(recorded(path)) >= set(acknowledged)
