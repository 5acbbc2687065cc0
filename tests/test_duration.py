"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", timedelta(hours=24)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("7d", timedelta(days=7)),
        ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
        ("1m1s1ms", timedelta(minutes=1, seconds=1, milliseconds=1)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    """A duration is digits with units, largest first."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1h1d", "-1h", "1.5h", "1h\n", " 1h", "9999999d", "1H", "\N{ARABIC-INDIC DIGIT ONE}h"]
)
def test_refuses_durations(text: str) -> None:
    """Everything else is refused, bare numbers and other scripts' digits included."""
    with pytest.raises(ValueError, match="expected a duration with a unit"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_durations_round_trip(milliseconds: int) -> None:
    """What is formatted is read back."""
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@given(st.text(alphabet="0123456789dhms", max_size=40) | st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """No text ends in another error."""
    try:
        value = parse_duration(text)
    except ValueError:
        return
    assert value >= timedelta(0)
