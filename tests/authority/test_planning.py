"""What each commit of a root's life changes: roots that are taken up, single steps, and several in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority import planning
from meshca.authority.drafting import Planned
from meshca.authority.history import EMPTY, Plan
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import to_pem
from meshca.authority.upstream import Line
from meshca.errors import NotFound, Refused
from tests.authority.planned_roots import BARE, CAS, CAUSE, IDS, LINES, PLAN, SIGNED, adopt, states, version
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, NEW, OLD, root, rotating

NAMED = Line(root=CAS[0].certificate, signs=False)


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
