"""Which leaves are in use."""

from __future__ import annotations

from datetime import datetime

import pytest

from meshca.authority.leaves import Holder, Leaf, holders
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, SECOND, leaf

SETTLE = 10 * MINUTE
EARLY, LATE = NOW - 6 * HOUR, NOW - HOUR
ENDS = NOW + DAY / 2
ZTUNNEL = "istio-system/ztunnel"


def held(*leaves: Leaf) -> list[Holder]:
    """Who holds them now."""
    return holders(leaves, SETTLE, NOW)


def in_use(*leaves: Leaf) -> set[str]:
    """The serials of those that are in use."""
    return {one.serial for holder in held(*leaves) for one, _ in holder.in_use}


def test_a_newer_leaf_of_the_pod_takes_the_place() -> None:
    """Once it has settled; in whichever order they are told."""
    assert in_use(leaf("2", LATE), leaf("1", EARLY)) == {"2"}


def test_both_are_in_use_until_the_newer_one_has_settled() -> None:
    """And the old one is said to be until then, not until it ends."""
    (holder,) = held(leaf("1", EARLY), leaf("2", NOW - MINUTE))
    assert [(one.serial, until) for one, until in holder.in_use] == [("1", NOW + 9 * MINUTE), ("2", ENDS)]


def test_settling_is_over_at_its_instant() -> None:
    """Not a second later."""
    assert in_use(leaf("1", EARLY), leaf("2", NOW - SETTLE)) == {"2"}


def test_an_old_leaf_that_ends_before_the_new_has_settled_is_in_use_until_its_end() -> None:
    """The earlier of both."""
    (holder,) = held(leaf("1", EARLY, ends=NOW + SECOND), leaf("2", NOW))
    assert holder.in_use[0][1] == NOW + SECOND


def test_leaves_of_one_instant_are_both_in_use() -> None:
    """Neither is newer."""
    assert in_use(leaf("1", LATE), leaf("2", LATE)) == {"1", "2"}


def test_a_later_leaf_takes_the_place_of_all_of_one_instant() -> None:
    """It is newer than each."""
    assert in_use(leaf("1", EARLY), leaf("2", EARLY), leaf("3", LATE)) == {"3"}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(leaf("2", LATE, identity="spiffe://cluster.local/ns/shop/sa/api"), id="identity"),
        pytest.param(leaf("2", LATE, pod="web-2"), id="pod"),
        pytest.param(leaf("2", LATE, uid="of another cluster"), id="uid"),
        pytest.param(leaf("2", LATE, requested_by=ZTUNNEL), id="proxy"),
        pytest.param(leaf("2", LATE, pod=""), id="unbound"),
    ],
)
def test_the_leaf_of_another_takes_no_place(other: Leaf) -> None:
    """Identity, pod, its uid, and who holds the key must be the same."""
    assert in_use(leaf("1", EARLY), other) == {"1", "2"}


def test_a_leaf_without_a_pod_is_in_use_until_it_ends() -> None:
    """Nothing says that a newer one is the same holder's."""
    assert in_use(leaf("1", EARLY, pod=""), leaf("2", LATE, pod="")) == {"1", "2"}


def test_a_leaf_that_proved_its_holder_for_another_has_had_its_turn() -> None:
    """With or without a pod."""
    assert in_use(leaf("1", EARLY, pod=""), leaf("2", LATE, pod="", parent="1")) == {"2"}


def test_a_leaf_that_proved_its_holder_a_moment_ago_is_in_use() -> None:
    """The new one has to settle."""
    assert in_use(leaf("1", EARLY, pod=""), leaf("2", NOW, pod="", parent="1")) == {"1", "2"}


def test_a_chain_has_one_holder() -> None:
    """However often it was renewed; and another chain has another."""
    chain = [leaf(str(n), EARLY + n * MINUTE, pod="", parent=str(n - 1)) for n in range(1, 5)]
    assert [len(holder.leaves) for holder in held(*chain, leaf("9", LATE, pod=""))] == [4, 1]


def test_the_first_to_take_a_place_counts() -> None:
    """Of the next leaf of the pod and the one that it proved, the earlier."""
    first = leaf("1", EARLY)
    assert in_use(first, leaf("2", NOW - SETTLE), leaf("3", NOW, parent="1")) == {"2", "3"}


def test_a_node_proxy_holds_one_leaf_of_an_identity_for_all_pods_on_its_node() -> None:
    """The ledger names the first of the pods, and that may be another one each time."""
    first = leaf("1", EARLY, pod="web-1", uid="u1", node="n1", requested_by=ZTUNNEL)
    then = leaf("2", LATE, pod="web-2", uid="u2", node="n1", requested_by=ZTUNNEL)
    elsewhere = leaf("3", EARLY, pod="web-3", uid="u3", node="n2", requested_by=ZTUNNEL)
    assert in_use(first, then, elsewhere) == {"2", "3"}


def test_a_node_proxy_without_a_known_node_is_told_apart_by_pods() -> None:
    """Rather two than one."""
    some = [leaf(name, EARLY, pod=name, requested_by=ZTUNNEL) for name in ("1", "2")]
    assert len(held(*some)) == 2


@pytest.mark.parametrize(
    ("ends", "expected"),
    [(NOW - SECOND, set()), (NOW, {"1"}), (NOW + SECOND, {"1"})],
    ids=["ended", "last-instant", "lives"],
)
def test_what_has_ended_is_in_no_use(ends: datetime, expected: set[str]) -> None:
    """The instant of its end still belongs to it."""
    assert in_use(leaf("1", ends=ends)) == expected


@pytest.mark.parametrize("identity", ["spiffe://cluster.local", "", "https://meshca"], ids=str)
def test_what_is_no_workload_does_not_count(identity: str) -> None:
    """Our own ports' certificates name the trust domain."""
    assert held(leaf("1", identity=identity)) == []


def test_the_newest_is_the_one_issued_last() -> None:
    """Whatever else it says."""
    assert held(leaf("2", LATE), leaf("1", EARLY))[0].newest.serial == "2"
