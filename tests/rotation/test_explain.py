"""What ends, what then happens, and what comes next, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.gate import Gate, Straggler
from meshca.authority.history import EMPTY, Lifecycle, Plan, Record
from meshca.authority.lifecycle import State
from meshca.rotation.explain import endings, next_step
from meshca.rotation.report import AuthorityReport
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, SECOND, intermediate, root, rotating, workload

TEN_YEARS = 3650 * DAY
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW, by="anna")


def ending(record: Record, left: timedelta, life: timedelta = TEN_YEARS, leaves: int = 0) -> AuthorityReport:
    """An authority with so much of its life left."""
    return AuthorityReport(
        record=record, subject="CN=x", not_before=NOW + left - life, not_after=NOW + left, leaves=leaves
    )


def urgency(record: Record, left: timedelta, life: timedelta) -> int:
    """How loud its end is told."""
    return next((one.urgency for one in endings([ending(record, left, life)], NOW)), 0)


@pytest.mark.parametrize(
    ("left", "life", "expected"),
    [
        (180 * DAY + SECOND, TEN_YEARS, 0),
        (180 * DAY, TEN_YEARS, 1),
        (90 * DAY, TEN_YEARS, 2),
        (30 * DAY, TEN_YEARS, 3),
        (7 * DAY, TEN_YEARS, 4),
        (-DAY, TEN_YEARS, 4),
        (26 * HOUR, 100 * HOUR, 0),
        (25 * HOUR, 100 * HOUR, 1),
        (10 * HOUR, 100 * HOUR, 2),
        (5 * HOUR, 100 * HOUR, 3),
        (2 * HOUR, 100 * HOUR, 4),
    ],
)
def test_the_end_of_a_root_is_told_at_days_or_shares_of_its_life(
    left: timedelta, life: timedelta, expected: int
) -> None:
    """Whichever is less: a root of a day is not always about to end."""
    assert urgency(root(), left, life) == expected


@pytest.mark.parametrize(("hours", "expected"), [(26, 0), (25, 1), (10, 2), (5, 3), (-1, 3)], ids=str)
def test_the_end_of_an_intermediate_is_told_at_shares_of_its_life(hours: int, expected: int) -> None:
    """It should have been replaced at half of it."""
    assert urgency(intermediate("i", OLD), hours * HOUR, 100 * HOUR) == expected


@pytest.mark.parametrize(
    "record",
    [
        root(state=State.PREPARED),
        root(state=State.RETIRED),
        intermediate("i", OLD, State.RETIRING),
        intermediate("i", OLD, State.RETIRED),
    ],
    ids=lambda record: f"{record.kind}-{record.state}",
)
def test_the_end_of_what_is_in_no_use_is_not_told(record: Record) -> None:
    """It harms nobody."""
    assert endings([ending(record, MINUTE)], NOW) == ()


@pytest.mark.parametrize(
    ("authority", "words"),
    [
        pytest.param(
            ending(root(), 20 * DAY, leaves=12),
            "root aaaaaaaaaaaa ends at 2026-01-21T00:00:00+00:00, in 20 days: from then on every peer refuses"
            " every certificate below it at once, 12 workloads hold one now; begin a new one with meshca root"
            " rotate",
            id="active",
        ),
        pytest.param(
            ending(root(state=State.DISTRIBUTING), 30 * HOUR),
            "root aaaaaaaaaaaa ends at 2026-01-02T06:00:00+00:00, in 1d6h: it is trusted but does not sign, and"
            " would soon have to be replaced again; rotate to a newer one",
            id="distributing",
        ),
        pytest.param(
            ending(root(state=State.RETIRING), HOUR, leaves=3),
            "root aaaaaaaaaaaa ends at 2026-01-01T01:00:00+00:00, in 1h: from then on every peer refuses every"
            " certificate below it at once, 3 workloads hold one now; see who in meshca root status",
            id="retiring",
        ),
        pytest.param(
            ending(root(state=State.TAINTED), HOUR),
            "root aaaaaaaaaaaa ends at 2026-01-01T01:00:00+00:00, in 1h: nobody holds a certificate below it, so"
            " nothing breaks; drop it with meshca root retire",
            id="unused",
        ),
        pytest.param(
            ending(intermediate("i", OLD), -SECOND),
            "intermediate i ended at 2025-12-31T23:59:59+00:00: certificates below it end with it and none can be"
            " issued after; it should have been replaced before: see the log for why it was not, or put a new one"
            " in place if the CA is plugged in",
            id="intermediate",
        ),
    ],
)
def test_what_happens_at_the_end(authority: AuthorityReport, words: str) -> None:
    """And what to do before."""
    assert [one.words for one in endings([authority], NOW)] == [words]


def test_the_most_urgent_end_comes_first() -> None:
    """Then the one that comes first."""
    some = [ending(root(str(days)), days * DAY) for days in (100, 20, 80, 10)]
    assert [one.authority for one in endings(some, NOW)] == ["10", "20", "80", "100"]


@given(left=st.integers(-400, 4000), life=st.integers(1, 4000))
def test_an_end_only_grows_more_urgent(left: int, life: int) -> None:
    """As time goes by."""
    assert urgency(root(), left * DAY, life * DAY) <= urgency(root(), (left - 1) * DAY, life * DAY)


def planned(old: State, new: State, plan: Plan = PLAN) -> Lifecycle:
    """A rotation that stands there."""
    return replace(rotating(old, new), plan=plan)


@pytest.mark.parametrize(
    ("life", "words"),
    [
        pytest.param(EMPTY, "", id="nothing"),
        pytest.param(rotating(), "", id="no-plan"),
        pytest.param(
            rotating(new=State.PREPARED),
            "bbbbbbbbbbbb: prepared, trusted by nobody yet; meshca root rotate gives it out",
            id="prepared-by-others",
        ),
        pytest.param(
            planned(State.ACTIVE, State.PREPARED),
            "have every workload trust bbbbbbbbbbbb, by itself",
            id="prepared",
        ),
        pytest.param(
            planned(State.ACTIVE, State.DISTRIBUTING, replace(PLAN, automatic=False)),
            "sign below bbbbbbbbbbbb, by command",
            id="distributing",
        ),
        pytest.param(
            planned(State.RETIRING, State.ACTIVE),
            "stop trusting aaaaaaaaaaaa once no certificate below it is in use, by itself",
            id="retiring",
        ),
        pytest.param(
            planned(State.RETIRING, State.ACTIVE, replace(PLAN, compromised=True)),
            "begin to replace every certificate below aaaaaaaaaaaa, by itself",
            id="stolen",
        ),
        pytest.param(
            planned(State.TAINTED, State.ACTIVE, replace(PLAN, tainted_at=NOW)),
            "replace every certificate below aaaaaaaaaaaa and stop trusting it, at 2026-01-01T00:05:05+00:00 at"
            " the latest, by itself",
            id="tainted",
        ),
        pytest.param(
            planned(State.TAINTED, State.ACTIVE),
            "replace every certificate below aaaaaaaaaaaa and stop trusting it, by itself",
            id="tainted-who-knows-when",
        ),
        pytest.param(
            planned(State.DISTRIBUTING, State.ACTIVE),
            "aborted: stop trusting aaaaaaaaaaaa once no certificate below it is in use, by itself",
            id="aborted",
        ),
        pytest.param(
            replace(planned(State.ACTIVE, State.PREPARED), records=()),
            "a root of this rotation is not known any more; meshca root abort ends it",
            id="forgotten",
        ),
        pytest.param(
            planned(State.ACTIVE, State.DISTRIBUTING, replace(PLAN, paused=True, compromised=True)),
            "paused; after meshca root resume --compromised: sign below bbbbbbbbbbbb, by itself",
            id="paused-compromised",
        ),
        pytest.param(
            planned(State.ACTIVE, State.DISTRIBUTING, replace(PLAN, paused=True)),
            "paused; after meshca root resume: sign below bbbbbbbbbbbb, by itself",
            id="paused",
        ),
    ],
)
def test_what_comes_next(life: Lifecycle, words: str) -> None:
    """And whether somebody has to ask for it."""
    assert next_step(life, None) == words


def test_a_step_that_is_taken_whoever_breaks_is_due_and_not_safe() -> None:
    """As at the end of a window, while somebody holds a leaf below the root that goes."""
    gate = Gate(
        open=True, ready=0, of=1, why="1 loses trust", stragglers=(Straggler(workload=workload(), why="x"),)
    )
    said = next_step(planned(State.TAINTED, State.ACTIVE), gate)
    assert said.endswith(", by itself: due, 1 loses trust")


@pytest.mark.parametrize(("is_open", "word"), [(True, "safe now"), (False, "waits")])
def test_what_the_next_step_waits_for(is_open: bool, word: str) -> None:  # noqa: FBT001 - a row
    """What its gate found."""
    gate = Gate(open=is_open, ready=1, of=2, why="1 of 2 trust it")
    said = next_step(planned(State.ACTIVE, State.DISTRIBUTING), gate)
    assert said == f"sign below bbbbbbbbbbbb, by itself: {word}, 1 of 2 trust it"
