"""Points in time, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.cli.columns import exact
from meshca.cli.instants import parse_instant
from meshca.errors import ConfigError

NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T12:30:00Z", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
        ("2026-01-01T12:30:00", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
        ("2026-01-01T12:30:00+02:00", datetime(2026, 1, 1, 10, 30, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
        ("1h30m", NOW - timedelta(hours=1, minutes=30)),
    ],
)
def test_times_and_ages_are_read(text: str, expected: datetime) -> None:
    """UTC unless said otherwise."""
    assert parse_instant(text, NOW, "--since") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "7", "-1h", "999999d", "2026-13-01", "1h ago"])
def test_anything_else_is_refused(text: str) -> None:
    """With the name of the flag and what was expected."""
    with pytest.raises(ConfigError) as caught:
        parse_instant(text, NOW, "--since")
    assert (caught.value.source, "expected a time such as" in caught.value.problems[0]) == ("--since", True)


@given(st.timedeltas(timedelta(), timedelta(days=80_000)))
def test_printed_times_are_read_back(age: timedelta) -> None:
    """A law: what we print can be given to a flag."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + age
    assert parse_instant(exact(instant), NOW, "--since") == instant


@given(st.text())
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    """A law: nothing but ConfigError comes out, and every instant has a zone."""
    try:
        assert parse_instant(text, NOW, "--since").tzinfo is not None
    except ConfigError:
        return
