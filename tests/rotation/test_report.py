"""What is told of the roots."""

from __future__ import annotations

from meshca.authority.gate import Straggler
from meshca.rotation.report import AuthorityReport, Forecast, ForecastStep, RootReport
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import WEB, root, workload


def test_a_report_of_which_nothing_is_known_promises_nothing() -> None:
    """No plan, no gate, no step, and nobody who drives."""
    report = RootReport(generation=0, sequence=0, bundle_version="", authorities=(), fleet=None)
    assert (report.plan, report.gate, report.next_step, report.warnings, report.driven_by) == (
        None,
        None,
        "",
        (),
        "",
    )


def test_an_authority_is_used_by_nobody_until_somebody_is_counted() -> None:
    """And by nobody until an end."""
    report = AuthorityReport(record=root(), subject="CN=root", not_before=NOW, not_after=NOW + DAY)
    assert (report.trusted_by, report.leaves, report.last_leaf_ends) == (0, 0, None)


def test_a_forecast_can_be_without_losers() -> None:
    """Then nobody is left unnamed."""
    forecast = Forecast(steps=(ForecastStep(says="1. begin"),))
    assert (forecast.losers, forecast.unnamed, forecast.breaks) == ((), 0, 0)


def test_who_would_break_by_name() -> None:
    """Identity and pod, as far as they are named; no pod is a name too."""
    named = (Straggler(workload=workload("web-1"), why="x"), Straggler(workload=workload(""), why="x"))
    found = Forecast(steps=(), losers=named, unnamed=3)
    assert found.names == {f"{WEB} in web-1", f"{WEB} in no pod"}
