"""The line about whoever signs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.cli.columns import WIDTH
from meshca.cli.status_upstream import line, rough
from meshca.rpc.status_report import UpstreamReport
from tests.fakes.reports import NOW


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            UpstreamReport(kind="vault", autonomy=timedelta(hours=5), reached_at=NOW),
            "upstream vault, last seen 2026-01-01T00:00:00Z; can do without it for 5 hours",
        ),
        (
            UpstreamReport(kind="vault", autonomy=timedelta(minutes=90), fault="sealed", remedy="unseal it"),
            "upstream vault (sealed); can do without it for 90 minutes",
        ),
        (
            UpstreamReport(kind="vault", autonomy=timedelta(0), fault="unreachable"),
            "upstream vault (unreachable); nothing can be issued without it",
        ),
    ],
    ids=["there", "away", "too long away"],
)
def test_the_line(report: UpstreamReport, expected: str) -> None:
    """What signs, what is wrong with it, when it was last there, and how long that does not matter."""
    assert line(report) == expected


def test_the_longest_line_fits() -> None:
    """The columns of a terminal, whatever the fault."""
    report = UpstreamReport(kind="vault", autonomy=timedelta(days=9999), fault="login_unreadable", reached_at=NOW)
    assert max(map(len, line(report).splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(days=2), "2 days"),
        (timedelta(days=2, seconds=-1), "47 hours"),
        (timedelta(hours=2, seconds=-1), "119 minutes"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(minutes=2, seconds=-1), "less than 2 minutes"),
    ],
)
def test_rounded_down(value: timedelta, expected: str) -> None:
    """Never more than there is."""
    assert rough(value) == expected
