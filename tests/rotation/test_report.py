"""What is told of the roots."""

from __future__ import annotations

from meshca.rotation.report import AuthorityReport, Forecast, ForecastStep, RootReport
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import root


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
