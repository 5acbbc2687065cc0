"""Facts about work beside everything else."""

from __future__ import annotations

import asyncio
import itertools

from meshca import metrics
from meshca.background import BACKOFF, STEADY, running
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
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
    """Work that fails is logged with its traceback, counted, and begun again after a pause."""
    clock, begun = FakeClock(), []
    counter = metrics.background_failures.labels("work")
    before = counter._value.get()

    async def work() -> None:
        begun.append(clock.monotonic())
        raise ValueError("x")

    with captured_logs() as logs:
        async with running("work", work, clock, Jitter(0.0)):
            await clock.advance(2 * BACKOFF.floor)
    assert begun == [0, BACKOFF.floor, 2 * BACKOFF.floor]
    assert counter._value.get() == before + 3
    assert [(line["event"], line["task"]) for line in logs] == [("background.failed", "work")] * 3


async def test_pauses_grow_until_it_works_again() -> None:
    """Each failure in a row makes the pause longer, up to a bound; work that went well forgets them."""
    clock, begun = FakeClock(), []
    lasts = 0.0

    async def work() -> None:
        begun.append(clock.monotonic())
        await clock.sleep(lasts)
        raise ValueError("x")

    with captured_logs():
        async with running("work", work, clock, Jitter(1.0)):
            await clock.advance(500)
            pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
            assert pauses[:7] == [2, 4, 8, 16, 32, BACKOFF.ceiling, BACKOFF.ceiling]
            lasts = STEADY + 1
            await clock.advance(3 * (BACKOFF.ceiling + lasts))
    assert begun[-1] - begun[-2] == lasts + 2 * BACKOFF.floor
