"""Pauses between tries."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.backoff import LONGEST_HINT, Backoff, Pace
from meshca.errors import Exhausted, MeshcaError, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter


@given(
    failures=st.integers(min_value=-5, max_value=10**9),
    seed=st.integers(),
    hint=st.none() | st.floats(allow_nan=False, min_value=-1e9, max_value=1e18),
)
def test_a_pause_is_never_below_the_floor_and_never_unbounded(
    failures: int, seed: int, hint: float | None
) -> None:
    """Whatever happened and whatever the CA asks for."""
    pause = Backoff(floor=1.0, ceiling=60.0).pause(failures, random.Random(seed), hint=hint)
    assert 1.0 <= pause <= max(60.0, LONGEST_HINT)


@pytest.mark.parametrize(("failures", "bound"), [(1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (100, 60.0)])
def test_the_bound_doubles_up_to_the_ceiling(failures: int, bound: float) -> None:
    """And the jitter uses the whole interval."""
    rng = random.Random(1)
    pauses = [Backoff().pause(failures, rng) for _ in range(2000)]
    assert max(pauses) <= bound
    assert max(pauses) > 1 + 0.9 * (bound - 1)
    assert min(pauses) < 1 + 0.1 * (bound - 1)


def test_a_hint_makes_the_pause_longer() -> None:
    """The CA knows when it can serve us again."""
    assert Backoff().pause(1, random.Random(1), hint=25.0) == 25.0


def test_a_hint_does_not_make_the_pause_shorter() -> None:
    """A hint of zero is no leave to hammer."""
    assert Backoff(floor=5.0, ceiling=5.0).pause(1, random.Random(1), hint=0.0) == 5.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(Unavailable("down", "no answer"), 1.0, id="no-hint"),
        pytest.param(Exhausted("identity_quota", "too many", retry_after=25.0), 25.0, id="hint"),
    ],
)
def test_only_a_refusal_for_quota_carries_a_hint(error: MeshcaError, expected: float) -> None:
    """Other errors do not say when to come back."""
    assert Pace(clock=FakeClock(), rng=Jitter(0.0)).after(error, 3) == expected
