"""A clock that a jump of the wall clock does not hurry."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from meshca.rotation.steady import SteadyClock
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, MINUTE

# what happens: seconds that pass, or by how much the wall clock is set
happenings = st.lists(
    st.tuples(st.sampled_from(["pass", "set"]), st.integers(-7200, 7200)).map(
        lambda one: (one[0], abs(one[1]) if one[0] == "pass" else one[1])
    )
)


def test_while_nothing_jumps_it_is_the_wall_clock() -> None:
    """To the second."""
    clock = FakeClock(NOW)
    steady = SteadyClock(clock)
    clock.move(90)
    assert (steady.now(), steady.monotonic()) == (clock.now(), clock.monotonic())


def test_a_clock_that_is_set_forward_is_not_believed() -> None:
    """Only what has passed here counts."""
    clock = FakeClock(NOW)
    steady = SteadyClock(clock)
    clock._now += HOUR
    clock.move(60)
    assert (steady.now(), steady.wall()) == (NOW + MINUTE, NOW + HOUR + MINUTE)


def test_a_clock_that_is_set_back_is_believed() -> None:
    """It only waits longer."""
    clock = FakeClock(NOW)
    steady = SteadyClock(clock)
    clock._now -= HOUR
    clock.move(60)
    assert steady.now() == clock.now() == NOW - HOUR + MINUTE


def test_at_rest_the_wall_clock_is_believed_again() -> None:
    """It was set right, perhaps."""
    clock = FakeClock(NOW)
    steady = SteadyClock(clock)
    clock._now += HOUR
    steady.rest()
    assert steady.now() == NOW + HOUR


async def test_it_sleeps_as_the_real_one() -> None:
    """By what passes, not by the wall clock."""
    clock = FakeClock(NOW)
    task = asyncio.create_task(SteadyClock(clock).sleep(60))
    await clock.advance(59)
    assert not task.done()
    await clock.advance(1)
    assert task.done()


@given(happenings)
def test_it_is_never_ahead(some: list[tuple[str, int]]) -> None:
    """Neither of the wall clock nor of what has passed, whatever happens."""
    clock = FakeClock(NOW)
    steady = SteadyClock(clock)
    for what, seconds in some:
        if what == "pass":
            clock.move(seconds)
        else:
            clock._now += timedelta(seconds=seconds)
        assert steady.now() <= min(clock.now(), NOW + timedelta(seconds=clock.monotonic()))
