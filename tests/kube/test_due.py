"""A queue by time."""

from __future__ import annotations

import asyncio

import pytest

from meshca.kube.due import NOW, Due
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock that has run for a while."""
    clock = FakeClock()
    clock.move(100)
    return clock


@pytest.fixture
def due(clock: FakeClock) -> Due:
    """A queue."""
    return Due(clock)


async def test_in_order(due: Due) -> None:
    """What became due first comes first, and a repair before all."""
    due.add("b", 20)
    due.add("a", 10)
    due.add("repair", NOW)
    assert [await due.take() for _ in range(3)] == ["repair", "a", "b"]


async def test_once(due: Due) -> None:
    """A name is there once, at its earliest time."""
    due.add("a", 50)
    due.add("a", 10)
    due.add("a", 90)
    due.add("b", 20)
    assert [await due.take(), await due.take()] == ["a", "b"]
    assert due.is_idle is False
    due.done("a")
    due.done("b")
    assert due.is_idle


async def test_later(due: Due, clock: FakeClock) -> None:
    """What is due later waits for its time."""
    due.add("a", 130)
    taking = asyncio.create_task(due.take())
    await clock.advance(29)
    assert due.is_idle
    assert not taking.done()
    await clock.advance(1)
    assert taking.done()


async def test_woken(due: Due, clock: FakeClock) -> None:
    """A wait ends when something comes that is due before."""
    due.add("a", 1000)
    taking = asyncio.create_task(due.take())
    await clock.advance(1)
    due.add("b", NOW)
    assert await taking == "b"


async def test_dropped(due: Due, clock: FakeClock) -> None:
    """What was dropped does not come."""
    due.add("a", NOW)
    due.drop("a")
    due.add("b", 10)
    assert await due.take() == "b"


async def test_never_twice_at_work(due: Due, clock: FakeClock) -> None:
    """What comes again while it is worked on waits until that is over."""
    due.add("a", NOW)
    await due.take()
    due.add("a", NOW)
    taking = asyncio.create_task(due.take())
    await clock.advance(1)
    assert not taking.done()
    due.done("a")
    assert await taking == "a"
