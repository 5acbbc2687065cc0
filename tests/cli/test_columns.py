"""Values that fit a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.cli.columns import exact, fit, iso, workload


def test_times_are_utc() -> None:
    """Whatever zone they come in."""
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert (iso(noon), exact(noon)) == ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z")


def test_exact_times_keep_their_fraction() -> None:
    """The others do not."""
    instant = datetime(2026, 1, 1, microsecond=1500, tzinfo=UTC)
    assert (iso(instant), exact(instant)) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001500Z")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("web", 3, "web"), ("payments", 5, "pa…ts"), ("payments", 4, "p…ts"), ("payments", 1, "…"), ("", 5, "")],
)
def test_long_text_is_cut_in_the_middle(text: str, width: int, expected: str) -> None:
    """Both ends tell more than one."""
    assert fit(text, width) == expected


@given(st.text(), st.integers(1, 40))
def test_anything_fits(text: str, width: int) -> None:
    """A law: never wider, always printable."""
    fitted = fit(text, width)
    assert len(fitted) <= width
    assert fitted.isprintable()


@pytest.mark.parametrize(
    ("spiffe_id", "expected"),
    [
        ("spiffe://cluster.local/ns/shop/sa/web", "shop/web"),
        ("spiffe://cluster.local/other", "spiffe://cluster.local/other"),
        ("", ""),
    ],
)
def test_a_workload_is_named_briefly(spiffe_id: str, expected: str) -> None:
    """Unless it is none of ours."""
    assert workload(spiffe_id) == expected
