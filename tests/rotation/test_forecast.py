"""What a rotation would do if it were begun now."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.fleet import Workload
from meshca.authority.gate import MOST_NAMED, Terms
from meshca.rotation import forecast
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, silent, workload

TERMS = Terms(share=0.99, settle=10 * MINUTE, published_for=timedelta(0))
GONE = workload("gone", connected=False, seen_at=NOW - HOUR)
ILL = workload("ill", trouble="disk full")
MOVED = workload("moved", signers=frozenset({NEW}))


def test_the_steps_of_a_planned_rotation() -> None:
    """Who cannot acknowledge learns the root with its next certificate; leaves are renewed at half life."""
    told = forecast.planned([workload(), silent(), MOVED], OLD, TERMS, NOW)
    assert told.steps[0] == (
        "make a new root and have every workload trust it, at once; aaaaaaaaaaaa goes on to sign"
    )
    assert told.steps[1] == (
        "sign below the new root when 99 % of those that acknowledge trust it and all others have had it long"
        " enough, not before 2026-01-01T06:10:00+00:00"
    )
    assert told.steps[2:] == (
        "replace every certificate below aaaaaaaaaaaa as it is renewed, until about 2026-01-01T12:20:00+00:00",
        "stop trusting aaaaaaaaaaaa and delete its key once none below it is in use",
    )
    assert told.losers == ()


@pytest.mark.parametrize(
    ("one", "at"),
    [
        pytest.param(workload(), "2026-01-01T00:00:00", id="acknowledges"),
        pytest.param(silent(seen_at=NOW - DAY), "2026-01-01T00:10:00", id="overdue"),
        pytest.param(replace(silent(), leaf_ends=None), "2026-01-01T00:10:00", id="without-a-leaf"),
    ],
)
def test_when_the_new_root_signs(one: Workload, at: str) -> None:
    """At the earliest."""
    assert f"not before {at}" in forecast.planned([one], OLD, TERMS, NOW).steps[1]


def test_published_roots_need_their_time() -> None:
    """Also where nobody lives."""
    told = forecast.planned([], OLD, replace(TERMS, published_for=HOUR), NOW)
    assert "not before 2026-01-01T01:00:00" in told.steps[1]


def test_who_holds_up_a_planned_rotation_is_named() -> None:
    """The one seen last first, with what to do."""
    told = forecast.planned([GONE, ILL, workload()], OLD, TERMS, NOW)
    assert [one.workload.pod for one in told.losers] == ["ill", "gone"]
    assert told.steps[1].endswith("; 2 do not answer now and hold this up")
    assert told.losers[0].why.startswith('refuses or holds up the roots: "disk full"')


def test_the_steps_after_a_theft() -> None:
    """At the window's end the root goes whoever breaks."""
    told = forecast.compromised([workload(), GONE], OLD, 5 * MINUTE, NOW)
    assert told.steps == (
        "make a new root and have every workload trust it, at once",
        "sign below the new root, without waiting for anybody but those that are connected",
        "replace every certificate below aaaaaaaaaaaa within 5m, evenly spread",
        "stop trusting aaaaaaaaaaaa at 2026-01-01T00:07:35+00:00 at the latest; 1 would lose trust",
    )


def test_a_window_of_nothing_is_at_once() -> None:
    """Nothing is spread; those within reach have the moment that they need."""
    told = forecast.compromised([], OLD, timedelta(0), NOW)
    assert "at 2026-01-01T00:00:10+00:00 at the latest" in told.steps[3]
    assert told.steps[2] == "replace every certificate below aaaaaaaaaaaa at once"


@pytest.mark.parametrize(
    ("one", "loses"),
    [
        pytest.param(workload(), False, id="connected"),
        pytest.param(GONE, True, id="gone"),
        pytest.param(ILL, True, id="in-trouble"),
        pytest.param(MOVED, False, id="moved"),
        pytest.param(replace(GONE, signers=frozenset({NEW})), False, id="gone-but-moved"),
        pytest.param(silent(), True, id="renews-later"),
        pytest.param(silent(seen_at=NOW - DAY / 2 + 2 * MINUTE), False, id="renews-within-the-window"),
        pytest.param(replace(silent(), leaf_ends=None), True, id="renews-who-knows-when"),
    ],
)
def test_who_would_lose_trust(one: Workload, loses: bool) -> None:  # noqa: FBT001 - a row
    """Whom nothing reaches within the window."""
    assert bool(forecast.compromised([one], OLD, 5 * MINUTE, NOW).losers) is loses


def test_counts_are_exact_where_names_are_not_all_told() -> None:
    """The rest is a number."""
    told = forecast.compromised([GONE] * (MOST_NAMED + 5), OLD, 5 * MINUTE, NOW)
    assert (len(told.losers), told.unnamed) == (MOST_NAMED, 5)
