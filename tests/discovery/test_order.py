"""When a holder of a leaf obeys an order to replace it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.backoff import Backoff
from meshca.discovery.order import LONGEST_WINDOW, MOST_SIGNERS, NO_ORDER, RenewalOrder, Turn
from meshca.errors import BadRequest
from tests.fakes.jitter import Jitter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C = "aa" * 32, "bb" * 32, "cc" * 32
MINUTE = timedelta(minutes=1)
ids = st.sampled_from([A, B, C])
windows = st.timedeltas(min_value=timedelta(0), max_value=LONGEST_WINDOW)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC is added


def order(*signers: str, begun_at: datetime = NOW, window: timedelta = 5 * MINUTE) -> RenewalOrder:
    """Leaves below these are to be replaced."""
    return RenewalOrder(signers=frozenset(signers), begun_at=begun_at, window=window)


def turn(part: float = 0.5) -> Turn:
    """One that draws this part of every interval."""
    return Turn(Jitter(part), Backoff(floor=1.0, ceiling=60.0))


@given(st.floats(0, 1, exclude_max=True), st.sets(ids, min_size=1), instants, instants, windows)
def test_never_outside_the_window(
    part: float, signers: set[str], begun_at: datetime, now: datetime, window: timedelta
) -> None:
    """Neither before it, nor before the order was heard unless the window is over; never after its end.

    With a slow clock, by which the order comes from the future, the window begins when it is heard.
    """
    mine = turn(part)
    mine.take(order(*signers, begun_at=begun_at, window=window), now)
    moment = mine.due(signers)
    begin = min(begun_at, now)
    assert moment is not None
    assert begin <= moment <= begin + window
    assert moment >= min(now, begin + window)
    assert mine.ends_at == begin + window


@given(st.sets(ids), st.sets(ids), instants, windows)
def test_never_when_it_does_not_concern_the_leaf(
    ordered: set[str], mine: set[str], now: datetime, window: timedelta
) -> None:
    """An order concerns leaves below the signers that it names, and no other."""
    holder = turn()
    holder.take(order(*ordered, begun_at=now, window=window), now)
    assert (holder.due(mine) is not None) == bool(ordered & mine)


@given(st.integers(0, 1000), instants, windows)
def test_an_order_heard_again_keeps_its_moment(seed: int, now: datetime, window: timedelta) -> None:
    """A stream that begins anew pushes it again; whoever drew again each time would come early."""
    holder = Turn(random.Random(seed), Backoff())
    holder.take(order(A, begun_at=now, window=window), now)
    first = holder.due({A})
    holder.take(order(A, begun_at=now, window=window), now + window / 2)
    assert holder.due({A}) == first


def test_nothing_is_ordered_at_first() -> None:
    """Of nobody."""
    assert turn().due({A, B}) is None


def test_the_next_order_takes_the_place_of_the_first() -> None:
    """Also when it orders nothing."""
    holder = turn()
    holder.take(order(A), NOW)
    holder.take(order(B), NOW)
    assert (holder.due({A}), holder.due({B})) == (None, NOW + 2.5 * MINUTE)
    holder.take(NO_ORDER, NOW)
    assert holder.due({B}) is None


def test_a_window_of_nothing_is_at_once() -> None:
    """For everybody."""
    holder = turn(0.99)
    holder.take(order(A, window=timedelta(0)), NOW)
    assert holder.due({A}) == NOW


def test_who_hears_late_draws_from_what_is_left() -> None:
    """So that those whose turn would have passed make no peak together."""
    holder = turn(0.5)
    holder.take(order(A), NOW + 4 * MINUTE)
    assert holder.due({A}) == NOW + 4.5 * MINUTE


def test_who_hears_after_the_window_comes_at_once() -> None:
    """Its moment has passed."""
    holder = turn(0.5)
    holder.take(order(A), NOW + timedelta(hours=1))
    assert holder.due({A}) == NOW + 5 * MINUTE


def test_a_slow_clock_does_not_miss_the_window() -> None:
    """An order from the future begins when it is heard."""
    holder = turn(0.5)
    holder.take(order(A, begun_at=NOW + timedelta(hours=1)), NOW)
    assert holder.due({A}) == NOW + 2.5 * MINUTE


def test_a_new_leaf_below_a_named_signer_waits_longer_each_time() -> None:
    """A worker that has not heard of the new signer gave it; asking on at once would be a storm."""
    holder = turn(1.0)
    holder.take(order(A), NOW)
    pauses = []
    for _ in range(8):
        assert not holder.came({A}, NOW)
        moment = holder.due({A})
        assert moment is not None
        pauses.append((moment - NOW).total_seconds())
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert holder.came({B}, NOW)
    assert holder.due({B}) is None


def test_an_order_that_grows_keeps_a_turn_that_is_to_come() -> None:
    """Drawing again with each replica that adds its signer would press the fleet towards the window's end."""
    holder = Turn(random.Random(1), Backoff())
    holder.take(order(A), NOW)
    first = holder.due({A})
    assert first is not None
    holder.take(order(A, B), NOW + (first - NOW) / 2)
    assert (holder.due({A}), holder.due({B})) == (first, first)


def test_an_order_that_grows_past_our_turn_gives_another() -> None:
    """Who has obeyed and is concerned again does not come at once, with all others who have."""
    holder = turn(0.5)
    holder.take(order(A), NOW)
    holder.take(order(A, B), NOW + 3 * MINUTE)
    assert holder.due({B}) == NOW + 4 * MINUTE


def test_another_order_begins_without_that_wait() -> None:
    """It has a moment of its own."""
    holder = turn(0.0)
    holder.take(order(A), NOW)
    holder.came({A}, NOW)
    holder.take(order(A, window=MINUTE), NOW)
    assert holder.due({A}) == NOW
    holder.came({A}, NOW)
    assert holder.due({A}) == NOW + timedelta(seconds=1)


@pytest.mark.parametrize("signer", ["", "aa", "AA" * 32, "zz" * 32, f"{A}\n"])
def test_a_signer_is_spelled_one_way(signer: str) -> None:
    """64 lower-case hexadecimal characters."""
    with pytest.raises(BadRequest, match="signers"):
        order(signer)


def test_signers_are_counted() -> None:
    """What an agent keeps has a bound."""
    with pytest.raises(BadRequest, match="signers"):
        order(*(f"{number:064x}" for number in range(MOST_SIGNERS + 1)))


@pytest.mark.parametrize("window", [timedelta(seconds=-1), LONGEST_WINDOW + timedelta(seconds=1)])
def test_a_window_has_bounds(window: timedelta) -> None:
    """From nothing to thirty days."""
    with pytest.raises(BadRequest, match="window"):
        order(A, window=window)
