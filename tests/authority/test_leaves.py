"""Which leaves are in use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import pytest

from meshca.authority.leaves import Holder, Leaf, Said, holders
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, SECOND, WEB, leaf

SETTLE = 10 * MINUTE
EARLY, LATE = NOW - 6 * HOUR, NOW - HOUR
ENDS = NOW + DAY / 2
ZTUNNEL = "istio-system/ztunnel"
NOTHING: Mapping[tuple[str, str], Collection[str]] = {}


WEB_1 = (WEB, "web-1")
UNBOUND = (WEB, "")


def held(*leaves: Leaf, said: Said = NOTHING) -> list[Holder]:
    """Who holds them now."""
    return holders(leaves, said, SETTLE, NOW)


def in_use(*leaves: Leaf, said: Said = NOTHING) -> set[str]:
    """The serials of those that are in use."""
    return {one.serial for holder in held(*leaves, said=said) for one, _ in holder.in_use}


def test_a_newer_leaf_that_was_signed_takes_no_place() -> None:
    """Its answer may have been lost on the way, however long ago that was and however often it happened."""
    assert in_use(leaf("1", EARLY), leaf("2", LATE), leaf("3", LATE + MINUTE)) == {"1", "2", "3"}


def test_the_leaf_that_an_agent_has_in_force_takes_the_place_of_all_before() -> None:
    """Once it has settled; in whichever order they are told, and whatever proved the agent."""
    leaves = leaf("3", LATE), leaf("2", EARLY + MINUTE), leaf("1", EARLY)
    assert in_use(*leaves, said={WEB_1: {"3"}}) == {"3"}


def test_a_leaf_that_an_agent_has_not_in_force_takes_no_place() -> None:
    """An Envoy of it still shows the old one, or the answer is lost."""
    assert in_use(leaf("1", EARLY), leaf("2", LATE), said={WEB_1: {"1"}}) == {"1", "2"}


def test_a_leaf_that_an_agent_shows_while_its_envoys_do_not_takes_no_place() -> None:
    """It has proved the agent already, and still an Envoy may refuse it: the agent's word is better."""
    leaves = leaf("1", EARLY), leaf("2", LATE, parent="1"), leaf("3", LATE + MINUTE, parent="2")
    assert in_use(*leaves, said={WEB_1: {"1"}}) == {"1", "2", "3"}


@pytest.mark.parametrize("pod", ["web-1", ""], ids=["bound", "unbound"])
@pytest.mark.parametrize("said", ["", "f"], ids=["nothing", "of-no-leaf-here"])
def test_an_agent_that_has_not_said_what_is_in_force_clears_nothing(pod: str, said: str) -> None:
    """It has just connected, or its certificate has ended."""
    leaves = leaf("1", EARLY, pod=pod), leaf("2", LATE, pod=pod, parent="1"), leaf("3", NOW, pod=pod, parent="2")
    assert in_use(*leaves, said={(WEB, pod): {said}}) == {"1", "2", "3"}


def test_of_two_agents_in_a_pod_the_elder_leaf_decides() -> None:
    """Each holds its own; what is between them may be either's."""
    leaves = [leaf(str(n), EARLY + n * MINUTE) for n in range(1, 5)]
    assert in_use(*leaves, said={WEB_1: {"2", "4"}}) == {"2", "3", "4"}


def test_while_one_of_two_agents_in_a_pod_is_silent_nothing_is_cleared() -> None:
    """It may hold the eldest."""
    assert in_use(leaf("1", EARLY), leaf("2", LATE), said={WEB_1: {"2", ""}}) == {"1", "2"}


def test_what_is_in_force_is_in_use_although_another_descends_from_it() -> None:
    """Two agents can have begun with one certificate."""
    leaves = leaf("1", EARLY, pod=""), leaf("2", LATE, pod="", parent="1")
    assert in_use(*leaves, said={UNBOUND: {"1", "2"}}) == {"1", "2"}


def test_an_agent_speaks_for_its_own_pod_only() -> None:
    """Neither for another pod of its identity nor for another identity."""
    other = leaf("1", EARLY, pod=""), leaf("2", LATE, pod="", parent="1")
    assert in_use(*other, said={WEB_1: {"2"}, ("spiffe://cluster.local/ns/shop/sa/api", ""): {"2"}}) == {"1", "2"}


def test_both_are_in_use_until_the_newer_one_has_settled() -> None:
    """And the old one is said to be until then, not until it ends."""
    (holder,) = held(leaf("1", EARLY), leaf("2", NOW - MINUTE), said={WEB_1: {"2"}})
    assert [(one.serial, until) for one, until in holder.in_use] == [("1", NOW + 9 * MINUTE), ("2", ENDS)]


def test_settling_is_over_at_its_instant() -> None:
    """Not a second later."""
    assert in_use(leaf("1", EARLY), leaf("2", NOW - SETTLE), said={WEB_1: {"2"}}) == {"2"}


def test_an_old_leaf_that_ends_before_the_new_has_settled_is_in_use_until_its_end() -> None:
    """The earlier of both."""
    (holder,) = held(leaf("1", EARLY, ends=NOW + SECOND), leaf("2", NOW), said={WEB_1: {"2"}})
    assert holder.in_use[0][1] == NOW + SECOND


def test_leaves_of_one_instant_are_both_in_use() -> None:
    """Neither is newer."""
    assert in_use(leaf("1", LATE), leaf("2", LATE), said={WEB_1: {"2"}}) == {"1", "2"}


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
    """Identity, pod, its uid, and who holds the key must be the same, whatever agents say."""
    assert in_use(leaf("1", EARLY), other, said={(other.identity, other.pod): {"2"}}) == {"1", "2"}


def test_a_leaf_without_a_pod_is_in_use_until_it_ends() -> None:
    """Nothing says that a newer one is the same holder's."""
    assert in_use(leaf("1", EARLY, pod=""), leaf("2", LATE, pod="")) == {"1", "2"}


@pytest.mark.parametrize("pod", ["web-1", ""], ids=["bound", "unbound"])
def test_a_leaf_that_was_shown_for_the_next_takes_the_place_of_what_it_came_by(pod: str) -> None:
    """Who shows it has it; of the next nobody knows that yet. Where no agent speaks, that is the evidence."""
    names = {"1": "", "2": "1", "3": "2", "4": "3"}
    leaves = [leaf(one, EARLY + n * MINUTE, pod=pod, parent=names[one]) for n, one in enumerate(names)]
    assert in_use(*leaves) == {"3", "4"}


@pytest.mark.parametrize("pod", ["web-1", ""], ids=["bound", "unbound"])
def test_a_leaf_that_proved_its_holder_is_in_use_until_the_next_is_shown(pod: str) -> None:
    """The answer with the next may be lost."""
    assert in_use(leaf("1", EARLY, pod=pod), leaf("2", LATE, pod=pod, parent="1")) == {"1", "2"}


def test_a_leaf_that_an_unbound_agent_has_in_force_takes_the_place_of_what_it_came_by() -> None:
    """Of those before as well; not of another that was asked for with the same proof and may have come."""
    chain = [leaf("1", EARLY, pod=""), leaf("2", LATE, pod="", parent="1")]
    two = [leaf(name, LATE + MINUTE, pod="", parent="2") for name in ("3", "4")]
    assert in_use(*chain, *two, said={UNBOUND: {"3"}}) == {"3", "4"}


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param(
            leaf("1", EARLY, pod="", identity="spiffe://cluster.local/ns/istio-system/sa/z"), id="identity"
        ),
        pytest.param(leaf("1", EARLY, pod="web-0"), id="pod"),
        pytest.param(leaf("1", EARLY, pod="", node="n1", requested_by=ZTUNNEL), id="proxy"),
    ],
)
def test_a_leaf_that_proved_another_holder_keeps_its_place(parent: Leaf) -> None:
    """A node proxy shows its own for those that it asks for; that these came says nothing of that one."""
    child = leaf("2", LATE, pod="", parent="1")
    assert in_use(parent, child, leaf("3", LATE + MINUTE, pod="", parent="2"), said={(WEB, ""): {"3"}}) == {
        "1",
        "3",
    }


def test_pods_of_one_name_are_told_apart_by_their_uid() -> None:
    """Each agent says what is in force in its own pod; who is known by name only speaks for both."""
    leaves = [leaf(f"{uid}{n}", EARLY + n * HOUR, uid=uid) for uid in "ab" for n in (1, 2)]
    assert in_use(*leaves, said={(WEB, "a"): {"a2"}, (WEB, "b"): {"b1"}}) == {"a2", "b1", "b2"}
    assert in_use(*leaves, said={(WEB, "a"): {"a2"}, WEB_1: {"b1"}}) == {"a1", "a2", "b1", "b2"}


def test_a_leaf_that_was_shown_a_moment_after_it_came_has_to_settle() -> None:
    """As every other."""
    leaves = (
        leaf("1", EARLY, pod=""),
        leaf("2", NOW - MINUTE, pod="", parent="1"),
        leaf("3", NOW, pod="", parent="2"),
    )
    assert in_use(*leaves) == {"1", "2", "3"}


def test_the_first_to_take_a_place_counts() -> None:
    """Of all that descend from a leaf and were shown."""
    chain = [leaf(str(n), NOW - SETTLE + (n - 2) * MINUTE, pod="", parent=str(n - 1)) for n in range(1, 5)]
    assert in_use(*chain) == {"2", "3", "4"}


def test_a_chain_has_one_holder() -> None:
    """However often it was renewed; and another chain has another."""
    chain = [leaf(str(n), EARLY + n * MINUTE, pod="", parent=str(n - 1)) for n in range(1, 5)]
    assert [len(holder.leaves) for holder in held(*chain, leaf("9", LATE, pod=""))] == [4, 1]


def test_a_node_proxy_holds_leaves_of_an_identity_for_all_pods_on_its_node() -> None:
    """The ledger names the first of the pods, and that may be another one each time; nothing says which came."""
    first = leaf("1", EARLY, pod="web-1", uid="u1", node="n1", requested_by=ZTUNNEL)
    then = leaf("2", LATE, pod="web-2", uid="u2", node="n1", requested_by=ZTUNNEL)
    elsewhere = leaf("3", EARLY, pod="web-3", uid="u3", node="n2", requested_by=ZTUNNEL)
    assert [len(holder.in_use) for holder in held(first, then, elsewhere)] == [2, 1]


def test_an_agent_does_not_speak_for_a_node_proxy() -> None:
    """Although that asked under the name of its pod."""
    proxied = [leaf(name, LATE, pod="web-1", node="n1", requested_by=ZTUNNEL) for name in ("1", "2")]
    assert in_use(*proxied, leaf("3"), said={WEB_1: {"3"}}) == {"1", "2", "3"}


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
