"""When to write again what somebody else keeps changing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshca.kube.rivalry import AT_ONCE, FIRST_PAUSE, LONGEST_PAUSE, QUIET, Rivalry


def taken(times: int, every: float = 0.0) -> Rivalry:
    """Taken so often."""
    rivalry = Rivalry()
    for number in range(times):
        rivalry = rivalry.taken("them", number * every)
    return rivalry


def test_edits_are_repaired_at_once() -> None:
    """The first few in a row are no fight."""
    rivalry = taken(AT_ONCE, every=1.0)
    assert not rivalry.contested
    assert rivalry.write_at == rivalry.last


def test_a_fight_slows_down() -> None:
    """Each further taking doubles the pause."""
    assert [taken(AT_ONCE + more).pause for more in (1, 2, 3)] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]


def test_one_edit_now_and_then() -> None:
    """After a quiet minute an edit is the first again."""
    assert taken(50, every=QUIET + 1).takings == 1


def test_a_fight_is_over() -> None:
    """When it stayed ours for a minute and its last pause after we wrote again, all is forgotten."""
    rivalry = taken(AT_ONCE + 2)
    assert not rivalry.is_over(rivalry.write_at + QUIET + rivalry.pause)
    assert rivalry.is_over(rivalry.write_at + QUIET + rivalry.pause + 1)


@given(st.lists(st.floats(0, 1e5), max_size=60))
def test_bounds(gaps: list[float]) -> None:
    """Whatever happens, nobody waits longer than an hour, and never before the taking."""
    rivalry, now = Rivalry(), 0.0
    for gap in gaps:
        now += gap
        rivalry = rivalry.taken("them", now)
        assert now <= rivalry.write_at <= now + LONGEST_PAUSE


@given(st.integers(1, 200))
def test_a_rival_that_answers_at_once_gets_few_writes(rounds: int) -> None:
    """Against one that takes it back in no time, an hour holds a dozen writes."""
    rivalry, now, writes = Rivalry(), 0.0, 0
    for _ in range(rounds):
        rivalry = rivalry.taken("them", now)
        now = rivalry.write_at
        writes += now <= 3600
    assert writes <= 12
