"""What somebody may read of who was left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.gate import LEFT_BEHIND, MOST_NAMED, Gate, Straggler
from meshca.authority.left_behind import told_to
from tests.fakes.roots import WEB, workload

CARD = "spiffe://cluster.local/ns/pay/sa/card"
HERE, ELSEWHERE = f'{WEB} in "web-1"', f'{CARD} in "card-1"'


def mine(identity: str) -> bool:
    """Of `shop`, not of `pay`."""
    return identity == WEB


def everybody(_identity: str) -> bool:
    """All may be seen."""
    return True


def told(*pods: tuple[str, str], unnamed: int = 0) -> str:
    """What is kept when these workloads, an identity and a pod each, are left behind."""
    left = [Straggler(workload=replace(workload(pod), identity=identity), why="x") for identity, pod in pods]
    return Gate(open=False, ready=0, of=9, why="2 hold one", stragglers=tuple(left), unnamed=unnamed).told


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (told((WEB, "web-1"), (CARD, "card-1")), f"{HERE} and 1 more"),
        (told((CARD, "card-1"), (WEB, "web-1"), (CARD, ""), unnamed=7), f"{HERE} and 9 more"),
        (told((WEB, "web-1"), (WEB, "")), f"{HERE}, {WEB} in no pod"),
        (told((CARD, "card-1"), (CARD, "")), "2 that are not named"),
    ],
    ids=["some", "and-uncounted", "all", "none"],
)
def test_whoever_may_not_be_seen_is_counted(guard: str, expected: str) -> None:
    """With those that were only counted before."""
    assert told_to(guard, mine) == f"2 hold one{LEFT_BEHIND}{expected}"


@pytest.mark.parametrize(
    "pod",
    [
        f'x", {WEB} in "y',
        f"x{LEFT_BEHIND}{WEB} in no pod",
        f"x\\{LEFT_BEHIND}",
        f'", {WEB} in no pod and 5 more',
        "\\",
        "\x1b\n",
    ],
    ids=["quotation", "mark", "mark-and-backslash", "count", "backslash", "control"],
)
def test_no_pod_is_shown_by_what_it_is_called(pod: str) -> None:
    """It is of another namespace, whatever its name says."""
    assert told_to(told((CARD, pod)), mine) == f"2 hold one{LEFT_BEHIND}1 that are not named"
    assert told_to(told((CARD, pod), (WEB, "web-1")), mine) == f"2 hold one{LEFT_BEHIND}{HERE} and 1 more"


@pytest.mark.parametrize("names", ["", WEB, f"{HERE}, ", f"{HERE}; x", f'{WEB} in "web-1', f"{ELSEWHERE} {HERE}"])
def test_what_is_written_otherwise_names_nobody(names: str) -> None:
    """Rather than somebody who may not be seen."""
    assert told_to(f"why{LEFT_BEHIND}{names}", everybody) == f"why{LEFT_BEHIND}some that are not named"


def test_a_guard_without_names_stays() -> None:
    """Nobody was left behind."""
    assert told_to("9 of 9 trust it", mine) == "9 of 9 trust it"


@given(
    st.lists(st.tuples(st.sampled_from([WEB, CARD]), st.text()), min_size=1, max_size=MOST_NAMED),
    st.integers(min_value=0, max_value=9),
)
def test_nobody_else_is_shown_and_nobody_forgotten(pods: list[tuple[str, str]], unnamed: int) -> None:
    """Whatever pods are called; who sees all reads what is kept."""
    kept = told(*pods, unnamed=unnamed)
    assert told_to(kept, everybody) == kept
    ours = [one for one in pods if mine(one[0])]
    if ours:
        assert told_to(kept, mine) == told(*ours, unnamed=unnamed + len(pods) - len(ours))
    else:
        assert told_to(kept, mine).endswith(f"{LEFT_BEHIND}{len(pods) + unnamed} that are not named")
