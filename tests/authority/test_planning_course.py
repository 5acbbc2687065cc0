"""The course of a rotation as a whole: begun, paused, resumed, and given up without harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshca.authority import planning
from meshca.authority.drafting import Cause, Planned
from meshca.authority.history import EMPTY, Lifecycle, Plan
from meshca.authority.lifecycle import Act, State
from meshca.errors import Refused
from tests.authority.planned_roots import BARE, CAUSE, PLAN, SIGNED, abort, states, version
from tests.fakes.roots import HOUR, NEW, OLD, root, rotating


class TestAbort:
    """`abort`: back to the state before, without harm."""

    @pytest.mark.parametrize("state", [State.PREPARED, State.DISTRIBUTING])
    def test_what_has_never_signed_is_given_up(self, state: State) -> None:
        """The old root never stopped to sign."""
        life, _ = abort(replace(BARE, records=(root(OLD), root(NEW, state))))
        assert (states(life), life.plan) == ([State.ACTIVE, State.RETIRED], None)

    def test_what_was_given_out_is_taken_back(self) -> None:
        """By a bundle without it."""
        assert abort(BARE)[0].bundles[-1].roots == (OLD,)

    def test_after_activation_the_old_root_signs_again(self) -> None:
        """Both are trusted until nothing below the new one is in use, and the plan says which goes."""
        life, changes = abort(replace(SIGNED, plan=replace(PLAN, paused=True, compromised=True)))
        assert states(life) == [State.ACTIVE, State.DISTRIBUTING]
        assert life.plan == replace(PLAN, old=NEW, new=OLD)
        assert [(one.authority, one.act) for one in changes] == [(NEW, Act.STEP_BACK), (OLD, Act.RESTORE)]

    def test_what_has_stepped_back_is_dropped_like_an_old_root(self) -> None:
        """That ends the rotation."""
        life, _ = planning.retire(abort(SIGNED)[0], NEW, CAUSE, version)
        assert (states(life), life.plan) == ([State.ACTIVE, State.RETIRED], None)

    def test_what_has_stepped_back_can_sign_after_all(self) -> None:
        """The plan is turned round again."""
        life, _ = planning.activate(abort(SIGNED)[0], NEW, CAUSE)
        assert (states(life), life.plan) == ([State.RETIRING, State.ACTIVE], PLAN)

    def test_a_second_try_is_given_up_without_forgetting_the_leaves_of_the_first(self) -> None:
        """It has signed, so it has to wait until it is unused."""
        again, _ = planning.with_plan(abort(SIGNED)[0], PLAN, CAUSE)
        life, changes = abort(again)
        assert (states(life), life.plan) == ([State.ACTIVE, State.DISTRIBUTING], replace(PLAN, old=NEW, new=OLD))
        assert changes == ()

    @pytest.mark.parametrize(
        ("life", "reason", "words"),
        [
            pytest.param(replace(BARE, plan=None), "no_rotation", "no root is being rotated", id="nothing"),
            pytest.param(
                replace(rotating(State.TAINTED, State.ACTIVE), plan=PLAN),
                "too_late",
                "the old root is tainted",
                id="tainted",
            ),
            pytest.param(
                replace(rotating(State.RETIRED, State.ACTIVE), plan=PLAN),
                "too_late",
                "the old root is not trusted any more",
                id="retired",
            ),
            pytest.param(abort(SIGNED)[0], "too_late", "the rotation is aborted already", id="aborted"),
        ],
    )
    def test_what_cannot_be_given_up_is_refused(self, life: Lifecycle, reason: str, words: str) -> None:
        """And says why not."""
        with pytest.raises(Refused) as caught:
            abort(life)
        assert (caught.value.reason, caught.value.detail.startswith(words)) == (reason, True)


class TestPlans:
    """`with_plan`, `pause`, `resume`."""

    def test_a_rotation_begins(self) -> None:
        """It moves nothing by itself; who asked is noted with the new root."""
        life, (change,) = planning.with_plan(replace(BARE, plan=None), PLAN, CAUSE)
        assert (life.plan, life.records) == (PLAN, BARE.records)
        assert (change.act, change.authority, change.before) == (Act.PLAN, PLAN.new, change.after)

    @pytest.mark.parametrize(
        "plan", [replace(PLAN, window=HOUR), replace(PLAN, old=NEW, new=OLD)], ids=["other-terms", "turned"]
    )
    def test_a_rotation_of_the_same_roots_can_go_on_in_another_way(self, plan: Plan) -> None:
        """The newer wish counts."""
        assert planning.with_plan(BARE, plan, CAUSE)[0].plan == plan

    def test_one_root_is_rotated_at_a_time(self) -> None:
        """The other has to wait."""
        with pytest.raises(Refused) as caught:
            planning.with_plan(BARE, replace(PLAN, new="c" * 64), CAUSE)
        assert caught.value.reason == "rotation_under_way"

    def test_it_is_paused_and_resumed(self) -> None:
        """Each is a generation."""
        paused, _ = planning.pause(BARE, CAUSE)
        resumed, _ = planning.resume(paused, CAUSE)
        assert (paused.plan, resumed.plan) == (replace(PLAN, paused=True), PLAN)
        assert (paused.generation, resumed.generation) == (8, 9)

    def test_to_pause_what_is_paused_changes_nothing(self) -> None:
        """No generation is spent."""
        paused, _ = planning.pause(BARE, CAUSE)
        assert planning.pause(paused, CAUSE) == (paused, ())

    @pytest.mark.parametrize("ask", [planning.pause, planning.resume])
    def test_without_a_rotation_there_is_nothing_to_pause(
        self, ask: Callable[[Lifecycle, Cause], Planned]
    ) -> None:
        """Nor to resume."""
        with pytest.raises(Refused) as caught:
            ask(EMPTY, CAUSE)
        assert caught.value.reason == "no_rotation"
