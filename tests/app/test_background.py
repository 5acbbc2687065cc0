"""Facts about work beside everything else."""

from __future__ import annotations

import asyncio

from meshca.app.background import PAUSE, running
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs


async def test_ends_with_the_block() -> None:
    """The work runs beside the block and is cancelled with it."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running("work", work, FakeClock()):
        await began.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_begun_again_after_a_failure() -> None:
    """Work that fails is logged with its traceback and begun again after a pause."""
    clock, begun = FakeClock(), []

    async def work() -> None:
        begun.append(clock.monotonic())
        raise ValueError("x")

    with captured_logs() as logs:
        async with running("work", work, clock):
            await clock.advance(2 * PAUSE)
    assert begun == [0, PAUSE, 2 * PAUSE]
    assert [(line["event"], line["task"]) for line in logs] == [("background.failed", "work")] * 3
