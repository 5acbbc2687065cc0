"""Tests of meshca.clock, over the machine's clock and the fake one."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta

import pytest

from meshca.clock import Clock, SystemClock
from tests.fakes.clock import FakeClock


@pytest.fixture(params=[SystemClock, FakeClock], ids=["system", "fake"])
def clock(request: pytest.FixtureRequest) -> Clock:
    """Each implementation in turn."""
    made: Clock = request.param()
    return made


def test_now_is_aware_and_in_utc(clock: Clock) -> None:
    """Instants carry their zone, so that they can be compared with a certificate's."""
    assert clock.now().tzinfo is UTC


def test_monotonic_never_goes_back(clock: Clock) -> None:
    """A later reading is not smaller."""
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.parametrize("seconds", [0, -1], ids=["zero", "negative"])
async def test_sleeping_for_no_time_returns(clock: Clock, seconds: float) -> None:
    """A wait whose time has passed returns at the next turn of the loop."""
    await clock.sleep(seconds)


async def test_the_fake_clock_wakes_sleepers_at_their_own_instant() -> None:
    """Each sleeper sees the time it asked for, in order."""
    clock, start, seen = FakeClock(), FakeClock().now(), list[timedelta]()

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append(clock.now() - start)

    async with asyncio.TaskGroup() as tasks:
        for seconds in (5, 2, 9):
            tasks.create_task(sleeper(seconds))
        await clock.advance(6)
        assert seen == [timedelta(seconds=2), timedelta(seconds=5)]
        assert clock.sleepers == 1
        await clock.advance(3)
    assert seen[-1] == timedelta(seconds=9)
