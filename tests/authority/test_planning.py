"""What each commit of a root's life changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshca.authority import planning
from meshca.authority.drafting import Cause, Planned
from meshca.authority.history import EMPTY, Kind, Lifecycle, Plan
from meshca.authority.intermediates import note_intermediate
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id, to_pem
from meshca.authority.upstream import Line
from meshca.errors import MeshcaError, NotFound, Refused
from tests.fakes.pki import NOW, make_ca
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, root, rotating

CAUSE = Cause(by="anna", reason="audit", at=NOW)
CAS = [make_ca(f"root {n}") for n in range(3)]
IDS = [certificate_id(ca.certificate) for ca in CAS]
LINES = [Line(root=ca.certificate, signs=True) for ca in CAS]
NAMED = Line(root=CAS[0].certificate, signs=False)
SIGNERS = [make_ca(f"signer {n}", ca) for n, ca in enumerate(CAS)]
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW - HOUR, by="anna", reason="audit")
BARE = replace(rotating(), records=(root(OLD), root(NEW, State.DISTRIBUTING)), plan=PLAN)
SIGNED = replace(rotating(State.RETIRING, State.ACTIVE), plan=PLAN)


def version(text: str) -> str:
    """As long as the text."""
    return str(len(text))


def states(life: Lifecycle) -> list[State]:
    """Of the roots, oldest first."""
    return [one.state for one in life.of(Kind.ROOT)]


def adopt(life: Lifecycle, *lines: Line) -> Planned:
    """Take up these lines."""
    return planning.adopt_lines(life, lines, CAUSE, version)


def abort(life: Lifecycle) -> Planned:
    """Give up what is under way."""
    return planning.abort(life, CAUSE, version)


class TestAdoptLines:
    """`adopt_lines`: a new root is prepared and no more, unless nothing is known at all."""

    def test_the_very_first_root_signs_at_once(self) -> None:
        """It is the first bundle, and each step is kept."""
        life, changes = adopt(EMPTY, LINES[0])
        assert (life.generation, states(life)) == (1, [State.ACTIVE])
        assert [(one.sequence, one.roots) for one in life.bundles] == [(1, (IDS[0],))]
        assert [one.act for one in changes] == [None, Act.DISTRIBUTE, Act.ACTIVATE]

    def test_a_root_is_kept_with_its_text(self) -> None:
        """As it is put into bundles."""
        life, _ = adopt(EMPTY, LINES[0])
        assert life.records[0].pem == to_pem(CAS[0].certificate)
        assert life.bundles[0].version == version(to_pem(CAS[0].certificate))

    def test_after_a_lost_store_all_are_trusted_and_the_oldest_signs(self) -> None:
        """Leaves below each of them may be in use; bundle numbers begin anew."""
        life, _ = adopt(EMPTY, *LINES)
        assert states(life) == [State.ACTIVE, State.DISTRIBUTING, State.DISTRIBUTING]
        assert [(one.sequence, one.roots) for one in life.bundles] == [(1, tuple(IDS))]

    def test_a_root_that_is_only_named_does_not_sign(self) -> None:
        """It is trusted; the next one signs."""
        assert states(adopt(EMPTY, NAMED, LINES[1])[0]) == [State.DISTRIBUTING, State.ACTIVE]

    def test_where_nothing_can_sign_nothing_does(self) -> None:
        """The roots are trusted all the same."""
        assert states(adopt(EMPTY, NAMED)[0]) == [State.DISTRIBUTING]

    def test_a_new_root_is_prepared(self) -> None:
        """Never a jump: no bundle, no other root moves."""
        before, _ = adopt(EMPTY, LINES[0])
        life, changes = adopt(before, *LINES[:2])
        assert (states(life), life.bundles) == ([State.ACTIVE, State.PREPARED], before.bundles)
        assert [one.act for one in changes] == [None]

    def test_what_is_known_changes_nothing(self) -> None:
        """Whatever state it is in, and if nothing is there any more."""
        life, _ = adopt(EMPTY, *LINES)
        assert adopt(life, *LINES) == adopt(life) == (life, ())


class TestSteps:
    """The single steps."""

    def test_a_prepared_root_is_given_out(self) -> None:
        """A bundle with it follows."""
        life, _ = planning.distribute(rotating(new=State.PREPARED), NEW, CAUSE, version)
        assert (states(life), life.bundles[-1].roots) == ([State.ACTIVE, State.DISTRIBUTING], (OLD, NEW))

    def test_another_root_signs_and_the_one_before_retires(self) -> None:
        """In one commit, in this order."""
        life, changes = planning.activate(BARE, NEW, CAUSE)
        assert (states(life), life.plan) == ([State.RETIRING, State.ACTIVE], PLAN)
        assert [(one.authority, one.act) for one in changes] == [(OLD, Act.SUPERSEDE), (NEW, Act.ACTIVATE)]

    def test_where_none_signs_a_root_can(self) -> None:
        """There is none to retire."""
        life = replace(BARE, records=(root(NEW, State.DISTRIBUTING),))
        assert states(planning.activate(life, NEW, CAUSE)[0]) == [State.ACTIVE]

    def test_a_tainted_root_has_its_window(self) -> None:
        """The plan goes on as that of a stolen key."""
        life, _ = planning.taint(SIGNED, OLD, CAUSE, HOUR)
        assert states(life) == [State.TAINTED, State.ACTIVE]
        assert life.plan == replace(PLAN, compromised=True, window=HOUR, tainted_at=NOW, urgent_by="anna")

    @pytest.mark.parametrize("plan", [replace(PLAN, paused=True), replace(PLAN, automatic=False)], ids=str)
    def test_a_tainted_root_goes_by_itself(self, plan: Plan) -> None:
        """Also if what was planned was paused or begun by hand: its window has an end."""
        life, _ = planning.taint(replace(SIGNED, plan=plan), OLD, CAUSE, HOUR)
        assert life.plan == replace(PLAN, compromised=True, window=HOUR, tainted_at=NOW, urgent_by="anna")

    def test_a_root_that_is_tainted_alone_gets_a_plan(self) -> None:
        """Somebody has to end it."""
        life, _ = planning.taint(replace(SIGNED, plan=None), OLD, CAUSE, HOUR)
        assert life.plan == replace(PLAN, compromised=True, window=HOUR, tainted_at=NOW, started_at=NOW)

    @pytest.mark.parametrize(
        ("state", "below", "expected"),
        [
            (State.DISTRIBUTING, (), State.RETIRED),
            (State.DISTRIBUTING, ("ib",), State.TAINTED),
            (State.RETIRING, ("ib",), State.TAINTED),
            (State.TAINTED, ("ib",), State.TAINTED),
        ],
    )
    def test_a_root_with_a_stolen_key_signs_no_more(
        self, state: State, below: tuple[str, ...], expected: State
    ) -> None:
        """One that never signed is given up at once; what was planned with it ends."""
        life = rotating(new=state)
        records = tuple(one for one in life.records if one.parent != NEW or one.id in below)
        found, _ = planning.renounce(replace(life, records=records, plan=PLAN), [NEW], CAUSE, version)
        assert (states(found), found.plan) == ([State.ACTIVE, expected], None)

    def test_a_root_goes_with_everything_below_it(self) -> None:
        """Nobody signs below a root that is not trusted; the plan is done."""
        life, changes = planning.retire(SIGNED, OLD, CAUSE, version)
        assert (states(life), life.plan, life.bundles[-1].roots) == ([State.RETIRED, State.ACTIVE], None, (NEW,))
        assert [(one.authority, one.act) for one in changes] == [
            (OLD, Act.RETIRE),
            ("ia", Act.SUPERSEDE),
            ("ia", Act.RETIRE),
        ]

    def test_without_the_new_root_there_is_no_rotation(self) -> None:
        """As if it had been given up."""
        life, _ = planning.retire(BARE, NEW, CAUSE, version)
        assert (states(life), life.plan) == ([State.ACTIVE, State.RETIRED], None)

    def test_a_plan_for_another_root_goes_on(self) -> None:
        """It is not done yet."""
        life = replace(SIGNED, records=(*SIGNED.records, root("c" * 64, State.RETIRING)))
        assert planning.retire(life, "c" * 64, CAUSE, version)[0].plan == PLAN

    @pytest.mark.parametrize(
        ("ask", "reason"),
        [
            pytest.param(lambda: planning.distribute(BARE, NEW, CAUSE, version), "transition", id="distribute"),
            pytest.param(lambda: planning.activate(BARE, OLD, CAUSE), "transition", id="activate"),
            pytest.param(
                lambda: planning.activate(rotating(new=State.PREPARED), NEW, CAUSE),
                "transition",
                id="never-given-out",
            ),
            pytest.param(
                lambda: planning.activate(
                    replace(BARE, records=(*BARE.records, root("c", State.DISTRIBUTING))), "c", CAUSE
                ),
                "rotation_under_way",
                id="activate-a-third",
            ),
            pytest.param(lambda: planning.taint(BARE, OLD, CAUSE, HOUR), "transition", id="taint-what-signs"),
            pytest.param(lambda: planning.taint(BARE, NEW, CAUSE, HOUR), "rotation_under_way", id="taint-the-new"),
            pytest.param(
                lambda: planning.taint(replace(SIGNED, plan=None, records=SIGNED.records[:1]), OLD, CAUSE, HOUR),
                "no_active_root",
                id="taint-the-last",
            ),
            pytest.param(lambda: planning.retire(BARE, OLD, CAUSE, version), "transition", id="retire-what-signs"),
        ],
    )
    def test_what_would_do_harm_is_refused(self, ask: Callable[[], Planned], reason: str) -> None:
        """Before anything changes."""
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.reason == reason

    @pytest.mark.parametrize(
        "ask",
        [
            pytest.param(lambda: planning.distribute(BARE, "x", CAUSE, version), id="distribute"),
            pytest.param(lambda: planning.activate(BARE, "x", CAUSE), id="activate"),
            pytest.param(lambda: planning.taint(BARE, "x", CAUSE, HOUR), id="taint"),
            pytest.param(lambda: planning.retire(BARE, "x", CAUSE, version), id="retire"),
            pytest.param(lambda: planning.with_plan(EMPTY, PLAN, CAUSE), id="plan"),
        ],
    )
    def test_an_unknown_root_is_not_found(self, ask: Callable[[], Planned]) -> None:
        """Whatever is asked of it."""
        with pytest.raises(NotFound) as caught:
            ask()
        assert caught.value.reason == "authority"


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


class TestInOne:
    """`in_one`: several acts, one commit."""

    def test_acts_that_belong_together_are_one_generation(self) -> None:
        """With all their changes."""
        life, changes = planning.in_one(
            BARE,
            lambda life: planning.activate(life, NEW, CAUSE),
            lambda life: planning.taint(life, OLD, CAUSE, timedelta(0)),
        )
        assert (life.generation, states(life)) == (8, [State.TAINTED, State.ACTIVE])
        assert [(one.generation, one.act) for one in changes] == [
            (8, Act.SUPERSEDE),
            (8, Act.ACTIVATE),
            (8, Act.TAINT),
        ]

    def test_acts_that_change_nothing_are_none(self) -> None:
        """No generation is spent."""
        assert planning.in_one(BARE, lambda life: planning.with_plan(life, PLAN, CAUSE)) == (BARE, ())


ASKED: dict[str, Callable[[Lifecycle, int], Planned]] = {
    "adopt": lambda life, n: adopt(life, *LINES[: n + 1]),
    "distribute": lambda life, n: planning.distribute(life, IDS[n], CAUSE, version),
    "activate": lambda life, n: planning.activate(life, IDS[n], CAUSE),
    "taint": lambda life, n: planning.taint(life, IDS[n], CAUSE, HOUR),
    "retire": lambda life, n: planning.retire(life, IDS[n], CAUSE, version),
    "note": lambda life, n: note_intermediate(life, IDS[n], SIGNERS[n].certificate, "one", CAUSE),
    "plan": lambda life, n: planning.with_plan(life, replace(PLAN, old=IDS[0], new=IDS[n]), CAUSE),
    "pause": lambda life, _: planning.pause(life, CAUSE),
    "abort": lambda life, _: abort(life),
}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.lists(st.tuples(st.sampled_from(sorted(ASKED)), st.integers(0, 2)), max_size=40))
def test_whatever_is_asked_the_state_stays_whole(asked: list[tuple[str, int]]) -> None:
    """One root signs, one intermediate for each replica, each generation has its bundle, and nothing is lost."""
    life, _ = adopt(EMPTY, LINES[0])
    for name, n in asked:
        try:
            after, changes = ASKED[name](life, n)
        except MeshcaError:
            continue
        assert (after == life) or after.generation == life.generation + 1
        assert {one.generation for one in changes} <= {after.generation}
        assert len(after.of(Kind.ROOT, State.ACTIVE)) == 1
        assert len(after.of(Kind.INTERMEDIATE, State.ACTIVE)) <= 1
        assert set(after.bundles[-1].roots) == {one.id for one in after.trusted}
        assert [one.sequence for one in after.bundles] == list(range(1, len(after.bundles) + 1))
        assert all(one.state is State.RETIRED for one in after.records if _parent_retired(after, one.parent))
        life = after


def _parent_retired(life: Lifecycle, parent: str) -> bool:
    found = life.find(parent)
    return found is not None and found.state is State.RETIRED
