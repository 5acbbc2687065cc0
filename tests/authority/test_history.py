"""What is read from a lifecycle."""

from __future__ import annotations

from dataclasses import replace

from meshca.authority.history import EMPTY, Kind
from meshca.authority.lifecycle import State
from tests.fakes.roots import NEW, OLD, root, rotating

LIFE = rotating()


def test_records_are_found_by_kind_and_state() -> None:
    """Oldest first; without a state in any."""
    assert [one.id for one in LIFE.of(Kind.ROOT)] == [OLD, NEW]
    assert [one.id for one in LIFE.of(Kind.INTERMEDIATE, State.ACTIVE, State.RETIRED)] == ["ia", "ib"]
    assert LIFE.of(Kind.ROOT, State.PREPARED) == ()


def test_roots_that_are_given_out_are_trusted() -> None:
    """From distributing until retired."""
    life = replace(LIFE, records=tuple(root(state.value, state) for state in State))
    assert [one.state for one in life.trusted] == [
        State.DISTRIBUTING,
        State.ACTIVE,
        State.RETIRING,
        State.TAINTED,
    ]


def test_one_root_is_active() -> None:
    """An active intermediate is none."""
    assert LIFE.active_root == root(OLD)
    assert replace(LIFE, records=LIFE.records[1:]).active_root is None


def test_a_record_is_found_by_its_id() -> None:
    """Or it is not there."""
    assert (LIFE.find(NEW), LIFE.find("unheard of")) == (LIFE.records[1], None)


def test_nothing_is_known_before_the_first_commit() -> None:
    """Nobody is trusted."""
    assert (EMPTY.generation, EMPTY.trusted, EMPTY.active_root) == (0, (), None)
