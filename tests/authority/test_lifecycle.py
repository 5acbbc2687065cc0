"""The table of a root's life."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.lifecycle import PARTS, TABLE, TRUSTED, Act, Guard, State, step
from meshca.errors import Refused

ALLOWED = {
    (State.PREPARED, Act.DISTRIBUTE): (State.DISTRIBUTING, Guard.FITS),
    (State.PREPARED, Act.ABORT): (State.RETIRED, Guard.NONE),
    (State.DISTRIBUTING, Act.ACTIVATE): (State.ACTIVE, Guard.ADOPTED),
    (State.DISTRIBUTING, Act.ABORT): (State.RETIRED, Guard.NEVER_SIGNED),
    (State.DISTRIBUTING, Act.RETIRE): (State.RETIRED, Guard.UNUSED),
    (State.DISTRIBUTING, Act.TAINT): (State.TAINTED, Guard.NONE),
    (State.ACTIVE, Act.SUPERSEDE): (State.RETIRING, Guard.NONE),
    (State.ACTIVE, Act.STEP_BACK): (State.DISTRIBUTING, Guard.NONE),
    (State.RETIRING, Act.RESTORE): (State.ACTIVE, Guard.NONE),
    (State.RETIRING, Act.TAINT): (State.TAINTED, Guard.NONE),
    (State.RETIRING, Act.RETIRE): (State.RETIRED, Guard.UNUSED),
    (State.TAINTED, Act.RETIRE): (State.RETIRED, Guard.OVER),
}
REFUSED = sorted(set(product(State, Act)) - ALLOWED.keys())
PAIRS = {Act.ACTIVATE: Act.SUPERSEDE, Act.STEP_BACK: Act.RESTORE}  # what else happens in the same commit


@pytest.mark.parametrize(("state", "act"), ALLOWED)
def test_an_act_leads_to_one_state_behind_one_guard(state: State, act: Act) -> None:
    """Each row of the table."""
    taken = step(state, act)
    assert (taken.after, taken.guard) == ALLOWED[state, act]


@pytest.mark.parametrize(("state", "act"), REFUSED)
def test_no_other_act_exists(state: State, act: Act) -> None:
    """Each pair that is no row is refused, and the words name both."""
    with pytest.raises(Refused) as caught:
        step(state, act)
    assert caught.value.reason == "transition"
    assert caught.value.detail.startswith(f"{act.value} is not possible for one that is {state.value}; ")


@pytest.mark.parametrize(
    ("state", "act", "words"),
    [
        (State.PREPARED, Act.RETIRE, "what can be done: meshca root rotate, retire"),
        (State.DISTRIBUTING, Act.DISTRIBUTE, "what can be done: meshca root activate, retire, taint"),
        (State.ACTIVE, Act.RETIRE, "activate another in its place first, or do all of it by meshca root rotate"),
        (State.ACTIVE, Act.TAINT, "it signs: replace it by meshca root rotate --compromised"),
        (State.RETIRING, Act.ACTIVATE, "what can be done: meshca root taint, retire"),
        (State.TAINTED, Act.RESTORE, "what can be done: meshca root retire"),
        (State.RETIRED, Act.ACTIVATE, "it is gone for good"),
    ],
)
def test_a_refusal_says_what_an_administrator_can_do(state: State, act: Act, words: str) -> None:
    """Acts that only come with another are not offered."""
    with pytest.raises(Refused) as caught:
        step(state, act)
    assert caught.value.detail.endswith(words)


def test_every_state_but_the_first_and_the_last_is_trusted() -> None:
    """So a bundle changes by distributing and by retiring only."""
    assert frozenset(State) - {State.PREPARED, State.RETIRED} == TRUSTED


def test_retired_is_final() -> None:
    """No act leads out of it."""
    assert not [row for row in TABLE if row[0] is State.RETIRED]


def test_every_other_state_can_end() -> None:
    """From each state there is a way to retired."""
    reached = {State.RETIRED}
    for _ in State:
        reached |= {before for (before, _), row in TABLE.items() if row.after in reached}
    assert reached == set(State)


def test_only_one_that_was_distributed_or_signed_before_signs() -> None:
    """No act leads from prepared to active."""
    assert {before for (before, _), row in TABLE.items() if row.after is State.ACTIVE} == {
        State.DISTRIBUTING,
        State.RETIRING,
    }


def test_what_nobody_asks_for_moves_only_who_signs() -> None:
    """Supersede, step back and restore need no guard of their own."""
    assert {row.guard for (_, act), row in TABLE.items() if act in PARTS} == {Guard.NONE}


@given(acts=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Act)), max_size=60))
def test_one_signs_at_most(acts: list[tuple[int, Act]]) -> None:
    """Whatever is asked in whatever order, if each act brings its pair; nobody signs who was never distributed."""
    states = [State.ACTIVE, *[State.PREPARED] * 3]
    distributed = {0}
    for who, act in acts:
        pair = PAIRS.get(act)
        other = next((i for i, one in enumerate(states) if i != who and pair and (one, pair) in TABLE), None)
        if act in {Act.SUPERSEDE, Act.RESTORE} or (states[who], act) not in TABLE or (pair and other is None):
            continue
        states[who] = step(states[who], act).after
        if pair and other is not None:
            states[other] = step(states[other], pair).after
        if states[who] is State.DISTRIBUTING:
            distributed.add(who)
        assert states.count(State.ACTIVE) == 1
        assert {i for i, one in enumerate(states) if one is State.ACTIVE} <= distributed
