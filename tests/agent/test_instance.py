"""Which agent of its pod an agent says it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshca.agent.instance import RECORD, instance
from meshca.agent.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    """What an agent keeps; nothing yet."""
    return State(tmp_path / "state")


def test_it_is_the_same_after_a_restart(state: State, tmp_path: Path) -> None:
    """As long as the agent keeps its state."""
    assert instance(state, tmp_path / "s") == instance(state, tmp_path / "s")


def test_agents_without_state_are_others_at_each_start(tmp_path: Path) -> None:
    """Nobody knows whether one is the other."""
    assert instance(None, tmp_path / "s") != instance(None, tmp_path / "s")


def test_agents_that_share_their_state_are_told_apart(state: State, tmp_path: Path) -> None:
    """No two serve at one socket."""
    assert instance(state, tmp_path / "a") != instance(state, tmp_path / "b")


@pytest.mark.parametrize("kept", ["", "web", "5F" * 16, "5f" * 17], ids=["none", "text", "case", "long"])
def test_what_is_not_ours_is_replaced(state: State, tmp_path: Path, kept: str) -> None:
    """As if nothing had been kept."""
    state.save(RECORD, {"id": kept})
    found = instance(state, tmp_path / "s")
    assert re.fullmatch(r"[0-9a-f]{32}", found)
    assert (state.load(RECORD) or {})["id"] != kept
    assert instance(state, tmp_path / "s") == found
