"""How the roots stand comes out of a message as it went in, as far as its reader may see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.rotation.report import Forecast, ForecastStep, RootReport
from meshca.rpc.roles import Sight
from meshca.rpc.root_report_messages import forecast_message, forecast_of, report_message, report_of
from tests.fakes.root_reports import HOUR, NOW, PAY, gate, plan, root_report, straggler

ALL = Sight(None)
SHOP = Sight(frozenset({"shop"}))
BOTH = (straggler(), straggler(identity=PAY, pod="card-1"))


@pytest.mark.parametrize(
    "report",
    [
        root_report(),
        root_report(fleet=None, plan=None, gate=None, next_step="", warnings=(), driven_by=""),
        root_report(gate=gate(open=True, stragglers=(), unnamed=3, opens_at=NOW + HOUR)),
        root_report(gate=gate(stragglers=(straggler(given_at=None, leaf_ends=None, trouble="disk", node=""),))),
        replace(root_report(), fleet=replace(root_report().fleet, oldest_seen=None)),  # type: ignore[type-var] # it has one
    ],
    ids=["under way", "nothing", "open", "straggler", "empty fleet"],
)
def test_there_and_back(report: RootReport) -> None:
    """Nothing is lost to who sees all."""
    assert report_of(report_message(report, ALL)) == report


def test_who_may_not_be_seen_is_counted() -> None:
    """Neither named nor forgotten."""
    found = report_of(report_message(root_report(gate=gate(stragglers=BOTH, unnamed=2)), SHOP)).gate
    assert found is not None
    assert (found.stragglers, found.unnamed) == (BOTH[:1], 3)


def test_a_forecast_there_and_back() -> None:
    """Nothing is lost to who sees all; to others, who they may not see is counted."""
    held = ForecastStep(says="two", holders=BOTH, unnamed=3)
    forecast = Forecast(steps=(ForecastStep(says="one"), held), losers=BOTH, unnamed=1, plan=plan())
    assert forecast_of(forecast_message(forecast, ALL)) == forecast
    seen = replace(held, holders=BOTH[:1], unnamed=4)
    assert forecast_of(forecast_message(forecast, SHOP)) == replace(
        forecast, steps=(forecast.steps[0], seen), losers=BOTH[:1], unnamed=2
    )
    assert forecast_of(forecast_message(replace(forecast, plan=None), ALL)).plan is None
