"""A process with a store, for tests that need a real disk fault or a real death. Prints one JSON line a step."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshca.clock import SystemClock
from meshca.errors import ConfigError, MeshcaError
from meshca.ledger.record import Intent
from meshca.store.engine import Store, open_store
from tests.fakes.records import intent, issued

PADDING = "x" * 4000  # a page each, so that the end comes soon


def say(**fields: Any) -> None:
    """One step for the test to read."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def write_until_killed(path: Path) -> None:
    """Say each serial once it is recorded."""
    async with open_store(f"sqlite:///{path}", SystemClock()) as store:
        prefix = f"{int(sys.argv[3]):x}"
        for number in range(1_000_000):
            one = intent(serial=f"{prefix}{number:08x}")
            await store.ledger.intend(one)
            store.ledger.finish(issued(one))
            say(serial=one.serial)


async def write_until_refused(store: Store) -> tuple[list[Intent], str]:
    """What was recorded before the first refusal, and its words."""
    recorded: list[Intent] = []
    while True:
        one = intent(rule=PADDING)
        try:
            await store.ledger.intend(one)
        except MeshcaError as error:
            return recorded, error.detail
        store.ledger.finish(issued(one))
        recorded.append(one)


async def refused_and_recovered(path: Path, mend: Callable[[], object]) -> None:
    """Write until the disk refuses, mend it, write on, and look for everything that was recorded."""
    async with open_store(f"sqlite:///{path}", SystemClock(), migrate=True) as store:
        recorded, words = await write_until_refused(store)
        say(recorded=len(recorded), refused=words)
        mend()
        last = intent(rule=PADDING)
        await store.ledger.intend(last)
        await store.probe()
    async with open_store(f"sqlite:///{path}", SystemClock()) as store:
        found = [await store.ledger.find(one.serial) for one in recorded]
        say(
            intents=sum(one is not None for one in found),
            outcomes=sum(one is not None and one.outcome is not None for one in found),
            last=await store.ledger.find(last.serial) is not None,
        )


async def full_disk(path: Path) -> None:
    """On a file system of 1 MiB, most of which another file takes."""
    other = path.with_name("other")
    other.write_bytes(b"x" * 500_000)
    await refused_and_recovered(path, other.unlink)


async def file_size_limit(path: Path) -> None:
    """With a limit of the shell on file sizes (`ulimit -f`)."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    await refused_and_recovered(path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))


def remount_read_only(folder: Path) -> None:
    """From now on nothing can be written there."""
    subprocess.run([shutil.which("mount") or "mount", "-o", "remount,ro", str(folder)], check=True)


async def read_only(path: Path) -> None:
    """On a file system that becomes read-only between two starts."""
    url = f"sqlite:///{path}"
    async with open_store(url, SystemClock(), migrate=True):
        pass
    await asyncio.to_thread(remount_read_only, path.parent)
    for migrate in (True, False):
        try:
            async with open_store(url, SystemClock(), migrate=migrate):
                say(opened=True)
        except ConfigError as error:
            say(refused=error.problems[0])


SCENES = {scene.__name__: scene for scene in (write_until_killed, full_disk, file_size_limit, read_only)}

if __name__ == "__main__":
    asyncio.run(SCENES[sys.argv[1]](Path(sys.argv[2])))
