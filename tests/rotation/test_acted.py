"""What each act changes: the row that is taken for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.drafting import Cause
from meshca.authority.history import Kind, Plan
from meshca.authority.lifecycle import Act, State
from meshca.errors import InvariantBroken, Refused
from meshca.rotation.acted import course, planned, version
from meshca.rotation.steps import Due
from tests.fakes.pki import NOW
from tests.fakes.roots import MINUTE, NEW, OLD, rotating

CAUSE = Cause(by="anna", guard="all trust it", at=NOW)
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW, by="anna")


@pytest.mark.parametrize(
    ("act", "root", "old", "new", "after"),
    [
        (Act.DISTRIBUTE, NEW, State.ACTIVE, State.PREPARED, State.DISTRIBUTING),
        (Act.ABORT, NEW, State.ACTIVE, State.PREPARED, State.RETIRED),
        (Act.ACTIVATE, NEW, State.ACTIVE, State.DISTRIBUTING, State.ACTIVE),
        (Act.TAINT, OLD, State.RETIRING, State.ACTIVE, State.TAINTED),
        (Act.RETIRE, OLD, State.TAINTED, State.ACTIVE, State.RETIRED),
    ],
    ids=str,
)
def test_each_act_leads_where_the_table_says(act: Act, root: str, old: State, new: State, after: State) -> None:
    """With who asked and what was found of its guard."""
    life = replace(rotating(old, new), plan=PLAN)
    kept, changes = planned(life, Due(act=act, record=life.records[root == NEW]), CAUSE, MINUTE)
    found = kept.find(root)
    assert found is not None
    assert (found.state, kept.generation) == (after, life.generation + 1)
    assert {one.by for one in changes} == {"anna"}
    assert {one.guard for one in changes if one.kind is Kind.ROOT} == {"all trust it"}


def test_the_window_of_a_taint_is_the_one_that_is_asked_for() -> None:
    """Not the one of the plan."""
    life = replace(rotating(State.RETIRING, State.ACTIVE), plan=PLAN)
    kept, _ = planned(life, Due(act=Act.TAINT, record=life.records[0]), CAUSE, 7 * MINUTE)
    assert kept.plan is not None
    assert (kept.plan.window, kept.plan.tainted_at) == (7 * MINUTE, NOW)


def test_an_act_that_does_not_exist_there_is_refused() -> None:
    """As the table says."""
    life = rotating()
    with pytest.raises(Refused) as refusal:
        planned(life, Due(act=Act.RETIRE, record=life.records[0]), CAUSE, MINUTE)
    assert refusal.value.reason == "transition"


@pytest.mark.parametrize(
    "act", [Act.SUPERSEDE, Act.STEP_BACK, Act.RESTORE, Act.PLAN, Act.PAUSE, Act.RESUME], ids=str
)
def test_a_part_of_another_act_is_never_taken_alone(act: Act) -> None:
    """A fault of ours that says which."""
    life = rotating()
    with pytest.raises(InvariantBroken, match=f"{act.value} is part of another act") as fault:
        planned(life, Due(act=act, record=life.records[0]), CAUSE, MINUTE)
    assert fault.value.reason == "act"


def test_a_bundle_of_the_same_text_has_the_same_version() -> None:
    """And another text another one."""
    assert version("one") == version("one") != version("two")


def test_what_is_done_to_a_root_is_not_done_to_a_rotation() -> None:
    """It is a mistake of ours."""
    with pytest.raises(InvariantBroken):
        course(rotating(), Act.RETIRE, CAUSE)
