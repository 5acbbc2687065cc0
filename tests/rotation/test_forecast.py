"""What an act on roots would do from where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.fleet import Workload
from meshca.authority.gate import MOST_NAMED, Gate, Straggler, Terms
from meshca.authority.lifecycle import Act, State
from meshca.rotation import forecast
from meshca.rotation.forecast import Stage
from meshca.rotation.report import Forecast, ForecastStep
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, WEB, root, silent, workload

TERMS = Terms(share=0.99, settle=10 * MINUTE, published_for=timedelta(0))
BEGIN = Stage(old=OLD)
GONE = workload("gone", connected=False, seen_at=NOW - HOUR)
ILL = workload("ill", trouble="disk full")
MOVED = workload("moved", signers=frozenset({NEW}))
OPEN = Gate(open=True, ready=1, of=1, why="all are ready")
CLOSED = Gate(
    open=False, ready=0, of=3, why="2 lack it", stragglers=(Straggler(workload=ILL, why="disk full"),), unnamed=1
)


def stage(state: State, gate: Gate | None = None) -> Stage:
    """A new root in a state; given out an hour ago, unless it is only prepared."""
    given_out = None if state is State.PREPARED else NOW - HOUR
    return Stage(old=OLD, new=replace(root(NEW, state), trusted_since=given_out), gate=gate)


def says(told: Forecast) -> list[str]:
    """The steps in words."""
    return [one.says for one in told.steps]


def pods(found: Sequence[Straggler]) -> list[str]:
    """Who is named."""
    return [one.workload.pod for one in found]


class TestPlanned:
    """`planned`."""

    def test_the_steps(self) -> None:
        """Who cannot acknowledge learns the root with its next leaf, and counts until all its leaves end."""
        told = forecast.planned([workload(), silent(), MOVED], BEGIN, TERMS, NOW)
        assert says(told) == [
            "make a new root and have every workload trust it, at once; aaaaaaaaaaaa goes on to sign",
            (
                "sign below the new root when 99 % of those that acknowledge trust it and all others have had it"
                " long enough, not before 2026-01-01T06:10:00+00:00"
            ),
            "replace every certificate below aaaaaaaaaaaa as it is renewed, until about 2026-01-01T18:10:00+00:00",
            "stop trusting aaaaaaaaaaaa and delete its key once none below it is in use",
        ]
        assert (told.breaks, pods(told.steps[1].holders)) == (0, ["pilot-1"])

    def test_leaves_of_agents_are_replaced_at_half_life(self) -> None:
        """And have to settle."""
        told = forecast.planned([workload()], BEGIN, TERMS, NOW)
        assert says(told)[2].endswith("until about 2026-01-01T06:10:00+00:00")

    @pytest.mark.parametrize(
        ("one", "at"),
        [
            pytest.param(workload(), "2026-01-01T00:00:00", id="acknowledges"),
            pytest.param(silent(seen_at=NOW - DAY), "2026-01-01T00:10:00", id="overdue"),
            pytest.param(replace(silent(), leaf_ends=None), "2026-01-01T00:10:00", id="without-a-leaf"),
        ],
    )
    def test_when_the_new_root_signs(self, one: Workload, at: str) -> None:
        """At the earliest."""
        assert f"not before {at}" in says(forecast.planned([one], BEGIN, TERMS, NOW))[1]

    def test_published_roots_need_their_time(self) -> None:
        """Also where nobody lives; of one that is given out already what is left of it."""
        terms = replace(TERMS, published_for=2 * HOUR)
        assert "not before 2026-01-01T02:00:00" in says(forecast.planned([], BEGIN, terms, NOW))[1]
        given_out = forecast.planned([], stage(State.DISTRIBUTING), terms, NOW)
        assert "not before 2026-01-01T01:00:00" in says(given_out)[0]

    def test_who_holds_it_up_is_named_at_each_gate(self) -> None:
        """The one seen last first, with what to do; who renews by itself holds no certificate up."""
        overdue = replace(silent("overdue"), leaf_ends=NOW - DAY)
        told = forecast.planned([GONE, ILL, workload(), MOVED, silent(), overdue], BEGIN, TERMS, NOW)
        assert pods(told.steps[1].holders) == ["ill", "pilot-1", "overdue", "gone"]
        assert told.steps[1].holders[0].why.startswith('refuses or holds up the roots: "disk full"')
        assert pods(told.steps[3].holders) == ["ill", "overdue", "gone"]
        assert told.steps[3].holders[0].why.startswith("holds a certificate below aaaaaaaaaaaa")
        assert told.losers == ()

    def test_a_root_that_is_made_is_given_out(self) -> None:
        """No second one is made."""
        told = forecast.planned([GONE], stage(State.PREPARED, OPEN), TERMS, NOW)
        assert says(told)[0].startswith("give out the new root bbbbbbbbbbbb and have every workload trust it")
        assert pods(told.steps[1].holders) == ["gone"]

    def test_a_root_that_is_given_out_waits_for_its_gate(self) -> None:
        """As that finds it, not as it was to be expected."""
        told = forecast.planned([workload()], stage(State.DISTRIBUTING, CLOSED), TERMS, NOW)
        assert (len(told.steps), told.steps[0].says.endswith("; now 2 lack it")) == (3, True)
        assert (told.steps[0].holders, told.steps[0].unnamed) == (CLOSED.stragglers, 1)

    def test_an_open_gate_holds_nothing_up(self) -> None:
        """It is said to be open."""
        told = forecast.planned([GONE], stage(State.DISTRIBUTING, OPEN), TERMS, NOW)
        assert (told.steps[0].says.endswith("; its gate is open now"), told.steps[0].holders) == (True, ())

    def test_who_cannot_acknowledge_and_has_the_root_is_waited_for_no_longer_than_it_takes(self) -> None:
        """It has settled a while after it was given it."""
        one = silent(given_at=NOW - MINUTE)
        told = forecast.planned([one], stage(State.DISTRIBUTING), TERMS, NOW)
        assert "not before 2026-01-01T00:09:00" in says(told)[0]

    def test_once_the_new_root_signs_only_leaves_are_left(self) -> None:
        """Nothing is issued below the old root any more, so each is renewed once."""
        told = forecast.planned([workload()], stage(State.ACTIVE, CLOSED), TERMS, NOW)
        assert says(told) == [
            "replace every certificate below aaaaaaaaaaaa as it is renewed, until about 2026-01-01T06:10:00+00:00",
            "stop trusting aaaaaaaaaaaa and delete its key once none below it is in use; now 2 lack it",
        ]
        assert told.steps[1].holders == CLOSED.stragglers


class TestCompromised:
    """`compromised`."""

    def test_the_steps(self) -> None:
        """At the window's end the root goes whoever breaks."""
        told = forecast.compromised([workload(), GONE], BEGIN, 5 * MINUTE, NOW)
        assert says(told) == [
            "make a new root and have every workload trust it, at once; aaaaaaaaaaaa goes on to sign",
            (
                "sign below the new root, without waiting for anybody but those that are connected,"
                " at 2026-01-01T00:02:30+00:00 at the latest"
            ),
            "replace every certificate below aaaaaaaaaaaa within 5m, evenly spread",
            (
                "stop trusting aaaaaaaaaaaa, taken as stolen, while the new root signs,"
                " at 2026-01-01T00:07:35+00:00 at the latest; 1 would lose trust"
            ),
        ]

    def test_a_window_of_nothing_is_at_once(self) -> None:
        """Nothing is spread; those within reach have the moment that they need."""
        told = says(forecast.compromised([], BEGIN, timedelta(0), NOW))
        assert "at 2026-01-01T00:00:10+00:00 at the latest" in told[3]
        assert told[2] == "replace every certificate below aaaaaaaaaaaa at once"

    def test_what_was_waited_for_already_counts(self) -> None:
        """A root that was given out an hour ago signs at once, and the window begins."""
        told = forecast.compromised([], stage(State.DISTRIBUTING, CLOSED), 5 * MINUTE, NOW)
        assert says(told)[0].endswith("at 2026-01-01T00:00:00+00:00 at the latest; now 2 lack it")
        assert told.steps[0].holders == CLOSED.stragglers
        assert "at 2026-01-01T00:05:05+00:00 at the latest" in says(told)[2]

    def test_a_window_that_has_begun_goes_on(self) -> None:
        """It ends when it was said to."""
        begun = replace(stage(State.ACTIVE), tainted_at=NOW - 4 * MINUTE)
        assert says(forecast.compromised([], begun, 5 * MINUTE, NOW)) == [
            (
                "replace every certificate below aaaaaaaaaaaa within 5m, evenly spread,"
                " since 2025-12-31T23:56:00+00:00"
            ),
            (
                "stop trusting aaaaaaaaaaaa, taken as stolen, while bbbbbbbbbbbb signs,"
                " at 2026-01-01T00:01:05+00:00 at the latest; 0 would lose trust"
            ),
        ]

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
    def test_who_would_lose_trust(self, one: Workload, loses: bool) -> None:  # noqa: FBT001 - a row
        """Whom nothing reaches within the window."""
        assert bool(forecast.compromised([one], BEGIN, 5 * MINUTE, NOW).losers) is loses

    def test_counts_are_exact_where_names_are_not_all_told(self) -> None:
        """The rest is a number."""
        told = forecast.compromised([GONE] * (MOST_NAMED + 5), BEGIN, 5 * MINUTE, NOW)
        assert (len(told.losers), told.unnamed, told.breaks) == (MOST_NAMED, 5, MOST_NAMED + 5)


class TestSingle:
    """`single`."""

    def test_through_an_open_gate_nobody_breaks(self) -> None:
        """It is safe."""
        told = forecast.single(Act.ACTIVATE, root(NEW), OPEN, force=True)
        assert told == Forecast(steps=(ForecastStep(says="sign below bbbbbbbbbbbb: safe now, all are ready"),))

    def test_a_closed_gate_refuses(self) -> None:
        """Nobody breaks, because it is not done; who holds it up is named."""
        told = forecast.single(Act.RETIRE, root(OLD), CLOSED, force=False)
        (step,) = told.steps
        assert step.says == (
            "stop trusting, and delete the key of, aaaaaaaaaaaa: refused while its gate is closed; now 2 lack it"
        )
        assert (step.holders, step.unnamed, told.breaks) == (CLOSED.stragglers, 1, 0)

    def test_who_holds_it_up_is_named_harmlessly_in_the_refusal(self) -> None:
        """A pod's name may be its agent's own word: a quotation whose end it cannot forge, without controls."""
        holder = Straggler(workload=workload('x\x1b[2J"\n'), why="disk full")
        gate = replace(CLOSED, stragglers=(holder,), unnamed=0)
        told = forecast.single(Act.RETIRE, root(OLD), gate, force=False)
        assert told.closed == (
            f"retire of root {OLD[:16]} is not safe now: 2 lack it. "
            rf'{WEB} in "x\x1b[2J\"\n": disk full'
        )

    def test_forced_through_a_closed_gate(self) -> None:
        """Those that its gate names break, and those that it counts."""
        told = forecast.single(Act.RETIRE, root(OLD), CLOSED, force=True)
        assert says(told) == [
            "stop trusting, and delete the key of, aaaaaaaaaaaa although its gate is closed: 2 lack it"
        ]
        assert (told.losers, told.breaks) == (CLOSED.stragglers, 2)

    def test_what_nobody_trusts_is_given_up(self) -> None:
        """The third act that is asked for on a root."""
        told = forecast.single(Act.ABORT, root(NEW), OPEN, force=False)
        assert says(told) == ["give up, before anybody trusts it, bbbbbbbbbbbb: safe now, all are ready"]
