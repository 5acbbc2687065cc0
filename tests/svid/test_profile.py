"""Lifetimes: what is asked for against the configured limits."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest
from meshca.svid.profile import Profile, lifetime

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEN_YEARS = 3650 * 86400  # seconds
PROFILE = Profile()
STRICT = Profile(refuse_longer=True)


@pytest.mark.parametrize(
    ("asked", "expected", "clamped"),
    [
        pytest.param(0, DAY, False, id="nothing-asked"),
        pytest.param(1, timedelta(seconds=1), False, id="one-second"),
        pytest.param(3600, HOUR, False, id="an-hour"),
        pytest.param(90 * 86400, 90 * DAY, False, id="the-maximum"),
        pytest.param(90 * 86400 + 1, 90 * DAY, True, id="a-second-more"),
        pytest.param(TEN_YEARS, 90 * DAY, True, id="ten-years"),
    ],
)
def test_lifetime(asked: int, expected: timedelta, *, clamped: bool) -> None:
    """Nothing asked gives the default; more than the maximum is shortened to it, and said so."""
    assert lifetime(PROFILE, asked) == (expected, clamped)


@pytest.mark.parametrize("profile", [PROFILE, STRICT], ids=["clamping", "refusing"])
@pytest.mark.parametrize("asked", [-1, -(2**63), TEN_YEARS + 1, 2**63 - 1])
def test_always_refused(profile: Profile, asked: int) -> None:
    """A negative duration and one over ten years are refused whatever the configuration."""
    with pytest.raises(BadRequest) as refused:
        lifetime(profile, asked)
    assert refused.value.reason == "duration"


def test_longer_is_refused_if_so_configured() -> None:
    """More than the maximum is refused, naming the maximum in seconds."""
    with pytest.raises(BadRequest, match="at most 7776000 seconds"):
        lifetime(STRICT, 90 * 86400 + 1)


def test_default_is_never_longer_than_the_maximum() -> None:
    """A maximum below the default wins."""
    assert lifetime(Profile(max_lifetime=HOUR), 0) == (HOUR, False)


@given(st.integers(-(2**70), 2**70))
def test_never_longer_than_asked_or_allowed(asked: int) -> None:
    """Whatever is asked, the answer is a refusal or a positive time within the maximum and the wish."""
    try:
        got, clamped = lifetime(PROFILE, asked)
    except BadRequest:
        assert not 0 <= asked <= TEN_YEARS
        return
    assert timedelta(0) < got <= PROFILE.max_lifetime
    assert clamped == (asked > got.total_seconds())
    assert asked == 0 or got.total_seconds() <= asked
