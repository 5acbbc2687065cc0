"""Lifetimes: what is asked for against the configured limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import BadRequest
from meshca.svid.profile import Profile, lifetime
from tests.fakes.profiles import PROFILE

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEN_YEARS = 3650 * 86400  # seconds
STRICT = replace(PROFILE, refuse_longer=True)
LONG = 3650 * DAY  # a grant that does not shorten


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
    assert lifetime(PROFILE, LONG, asked) == (expected, clamped)


@pytest.mark.parametrize("profile", [PROFILE, STRICT], ids=["clamping", "refusing"])
@pytest.mark.parametrize("asked", [-1, -(2**63), TEN_YEARS + 1, 2**63 - 1])
def test_always_refused(profile: Profile, asked: int) -> None:
    """A negative duration and one over ten years are refused whatever the configuration."""
    with pytest.raises(BadRequest) as refused:
        lifetime(profile, LONG, asked)
    assert refused.value.reason == "duration"


def test_longer_is_refused_if_so_configured() -> None:
    """More than the maximum is refused, naming the maximum in seconds."""
    with pytest.raises(BadRequest, match="at most 7776000 seconds"):
        lifetime(STRICT, LONG, 90 * 86400 + 1)


def test_default_is_never_longer_than_the_maximum() -> None:
    """A maximum below the default wins."""
    assert lifetime(replace(PROFILE, max_lifetime=HOUR), LONG, 0) == (HOUR, False)


@pytest.mark.parametrize(
    ("asked", "expected", "clamped"),
    [
        pytest.param(0, HOUR, False, id="nothing-asked"),
        pytest.param(3600, HOUR, False, id="the-grant"),
        pytest.param(3601, HOUR, True, id="a-second-more"),
    ],
)
@pytest.mark.parametrize("profile", [PROFILE, STRICT], ids=["clamping", "refusing"])
def test_a_grant_shortens(profile: Profile, asked: int, expected: timedelta, *, clamped: bool) -> None:
    """What admission grants shortens the lifetime and never refuses it."""
    assert lifetime(profile, HOUR, asked) == (expected, clamped)


@given(st.integers(-(2**70), 2**70), st.timedeltas(timedelta(seconds=1), LONG))
def test_never_longer_than_asked_or_allowed(asked: int, granted: timedelta) -> None:
    """Whatever is asked, the answer is a refusal or a positive time within maximum, grant and wish."""
    try:
        got, clamped = lifetime(PROFILE, granted, asked)
    except BadRequest:
        assert not 0 <= asked <= TEN_YEARS
        return
    assert timedelta(0) < got <= min(PROFILE.max_lifetime, granted)
    assert clamped == (asked > got.total_seconds())
    assert asked == 0 or got.total_seconds() <= asked
