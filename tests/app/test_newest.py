"""Slow work for the newest of what comes."""

from __future__ import annotations

import asyncio

from meshca.app.newest import Newest


class Slow:
    """Remembers what it was asked to do, and does it when the test lets it."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.may = asyncio.Event()

    async def __call__(self, item: int) -> None:
        """Begin, and wait."""
        self.begun.append(item)
        await self.may.wait()


async def test_one_at_a_time_and_the_newest_next() -> None:
    """What comes while something is done replaces what waits."""
    slow = Slow()
    newest = Newest(slow)
    for item in (1, 2, 3):
        newest.offer(item)
        await asyncio.sleep(0)
    assert slow.begun == [1]
    slow.may.set()
    await newest.done()
    assert slow.begun == [1, 3]


async def test_again_after_a_pause() -> None:
    """What comes when nothing is done is done at once."""
    slow = Slow()
    slow.may.set()
    newest = Newest(slow)
    await newest.done()
    for item in (1, 2):
        newest.offer(item)
        await newest.done()
    assert slow.begun == [1, 2]
