"""The line of `meshca status` about whoever signs for the server: is it there, and how long can we do without."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.cli.columns import iso
from meshca.printable import printable

if TYPE_CHECKING:
    from meshca.rpc.status_report import UpstreamReport

_UNITS: Final = (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1)))


def line(report: UpstreamReport) -> str:
    """What signs, whether it is there, and for how long certificates can be issued without it."""
    state = f" ({printable(report.fault)})" if report.fault else ""
    seen = f", last seen {iso(report.reached_at)}" if report.reached_at else ""
    if report.autonomy > timedelta(0):
        without = f"can do without it for {rough(report.autonomy)}"
    else:
        without = "nothing can be issued without it"
    return f"upstream {printable(report.kind)}{state}{seen}; {without}"


def rough(value: timedelta) -> str:
    """Days, hours or minutes: the largest of which there are two, rounded down; never more than there is."""
    for name, unit in _UNITS:
        if value >= 2 * unit:
            return f"{value // unit} {name}"
    return "less than 2 minutes"
