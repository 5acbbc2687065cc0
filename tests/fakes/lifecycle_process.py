"""A process that commits one generation after the other until it is killed; says each once it is kept."""

from __future__ import annotations

import asyncio
import itertools
import sys

from meshca.clock import SystemClock
from meshca.store.engine import open_store
from tests.fakes.generations import changes_of, generation


async def commit_until_killed(url: str) -> None:
    """Go on where an earlier process was killed."""
    async with open_store(url, SystemClock()) as store:
        found = await store.lifecycle.load()
        for number in itertools.count(found.generation + 1):
            await store.lifecycle.commit(generation(number), changes_of(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(commit_until_killed(sys.argv[1]))
