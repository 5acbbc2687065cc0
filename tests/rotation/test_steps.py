"""What comes next by itself, as a table: no step is skipped, none is taken that somebody must ask for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.history import Lifecycle, Plan
from meshca.authority.lifecycle import Act, State
from meshca.rotation.steps import GRACE, Due, Named, distribution_deadline, drop_at, due, following, successor
from tests.fakes.pki import NOW
from tests.fakes.roots import MINUTE, NEW, OLD, root, rotating

PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW, by="anna")
OURS = Named(wanted={OLD, NEW}, signs=(OLD, NEW), plugged_in=False)
THEIRS = Named(wanted={NEW}, signs=(OLD, NEW), plugged_in=True)


def life(old: State, new: State, plan: Plan | None = PLAN) -> Lifecycle:
    """Two roots and a plan to go from the one to the other."""
    return replace(rotating(old, new), plan=plan)


def said(found: Due | None) -> tuple[Act, str] | None:
    """The act and the root."""
    return None if found is None else (found.act, found.record.id)


@pytest.mark.parametrize(
    ("old", "new", "compromised", "expected"),
    [
        (State.ACTIVE, State.PREPARED, False, (Act.DISTRIBUTE, NEW)),
        (State.ACTIVE, State.DISTRIBUTING, False, (Act.ACTIVATE, NEW)),
        (State.RETIRING, State.ACTIVE, False, (Act.RETIRE, OLD)),
        (State.RETIRING, State.ACTIVE, True, (Act.TAINT, OLD)),
        (State.TAINTED, State.ACTIVE, True, (Act.RETIRE, OLD)),
        (State.DISTRIBUTING, State.ACTIVE, False, (Act.RETIRE, OLD)),
        (State.RETIRED, State.ACTIVE, False, None),
    ],
    ids=str,
)
def test_next_act(old: State, new: State, *, compromised: bool, expected: tuple[Act, str] | None) -> None:
    """Each state of the two roots has one act that follows."""
    kept = life(old, new, replace(PLAN, compromised=compromised))
    assert said(due(kept, OURS)) == expected
    assert said(following(kept)) == expected


@pytest.mark.parametrize(
    "plan", [replace(PLAN, paused=True), replace(PLAN, automatic=False)], ids=["paused", "by-hand"]
)
def test_nothing_by_itself(plan: Plan) -> None:
    """A paused plan and one of single steps wait for somebody; what follows is still told."""
    kept = life(State.ACTIVE, State.DISTRIBUTING, plan)
    assert (due(kept, OURS), said(following(kept))) == (None, (Act.ACTIVATE, NEW))


def test_without_a_plan_nothing_follows() -> None:
    """A root that was made and not asked for stays prepared."""
    kept = life(State.ACTIVE, State.PREPARED, None)
    assert (due(kept, OURS), following(kept)) == (None, None)


def test_a_root_of_the_plan_that_is_not_known_any_more() -> None:
    """Nothing is due."""
    assert following(replace(life(State.ACTIVE, State.ACTIVE), records=(root(OLD),))) is None


class TestPluggedIn:
    """An operator's change of the roots."""

    def test_a_new_root_is_distributed(self) -> None:
        """Named is enough to be trusted."""
        assert said(due(life(State.ACTIVE, State.PREPARED, None), THEIRS)) == (Act.DISTRIBUTE, NEW)

    def test_a_root_that_is_taken_away_again(self) -> None:
        """Before anybody trusts it, it is given up."""
        named = replace(THEIRS, wanted={OLD})
        assert said(due(life(State.ACTIVE, State.PREPARED, None), named)) == (Act.ABORT, NEW)

    def test_a_trusted_root_that_is_named_no_more(self) -> None:
        """It goes as soon as nothing below it is in use."""
        named = replace(THEIRS, wanted={OLD})
        assert said(due(life(State.ACTIVE, State.DISTRIBUTING, None), named)) == (Act.RETIRE, NEW)

    def test_the_old_root_stays_while_it_is_named(self) -> None:
        """It is the operator's to take away."""
        named = replace(THEIRS, wanted={OLD, NEW})
        assert due(life(State.RETIRING, State.ACTIVE), named) is None

    def test_a_root_that_no_operator_plugged_in_goes_although_it_is_named(self) -> None:
        """Its source names it until it is forgotten, and nobody but us forgets it."""
        named = replace(THEIRS, wanted={OLD, NEW}, made={OLD})
        assert said(due(life(State.RETIRING, State.ACTIVE), named)) == (Act.RETIRE, OLD)

    def test_a_tainted_root_goes_although_it_is_named(self) -> None:
        """There security wins."""
        named = replace(THEIRS, wanted={OLD, NEW})
        plan = replace(PLAN, compromised=True, tainted_at=NOW)
        assert said(due(life(State.TAINTED, State.ACTIVE, plan), named)) == (Act.RETIRE, OLD)

    def test_who_signs_next(self) -> None:
        """The first named line that signs, once it is distributed."""
        found = successor(life(State.ACTIVE, State.DISTRIBUTING, None), THEIRS)
        assert found is not None
        assert found.id == NEW

    @pytest.mark.parametrize(
        ("kept", "named"),
        [
            (life(State.ACTIVE, State.DISTRIBUTING), THEIRS),
            (life(State.ACTIVE, State.PREPARED, None), THEIRS),
            (life(State.ACTIVE, State.DISTRIBUTING, None), OURS),
            (life(State.ACTIVE, State.DISTRIBUTING, None), replace(THEIRS, wanted={OLD, NEW})),
            (life(State.ACTIVE, State.DISTRIBUTING, None), replace(THEIRS, signs=())),
            (life(State.ACTIVE, State.DISTRIBUTING, None), replace(THEIRS, wanted=frozenset())),
        ],
        ids=["planned", "not-trusted", "ours", "the-active-one", "nobody-signs", "none-named"],
    )
    def test_nobody_signs_next(self, kept: Lifecycle, named: Named) -> None:
        """The active one goes on."""
        assert successor(kept, named) is None


class TestWindow:
    """A compromised root."""

    def test_a_planned_rotation_waits_for_ever(self) -> None:
        """Its gate alone decides."""
        assert distribution_deadline(PLAN, root(NEW, since=NOW)) is None

    @pytest.mark.parametrize(
        ("window", "expected"),
        [(timedelta(0), GRACE), (5 * MINUTE, 2.5 * MINUTE)],
        ids=["at-once", "five-minutes"],
    )
    def test_the_new_root_signs_within_half_the_window(self, window: timedelta, expected: timedelta) -> None:
        """Whoever has not answered by then holds nobody up; agents within reach have a moment in any case."""
        plan = replace(PLAN, compromised=True, window=window)
        assert distribution_deadline(plan, root(NEW, since=NOW)) == NOW + expected

    def test_the_old_root_is_dropped_at_its_end(self) -> None:
        """Counted from when it was tainted; before that there is no end."""
        plan = replace(PLAN, compromised=True, tainted_at=NOW)
        assert (drop_at(plan), drop_at(PLAN)) == (NOW + 5 * MINUTE + GRACE, None)
        assert drop_at(replace(plan, window=timedelta(0))) == NOW + GRACE
