"""Who lives in the mesh, and what each trusts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.adoption import Grade, Kind
from meshca.authority.fleet import Word, Workload
from meshca.authority.history import EMPTY
from tests.authority.seen_fleet import AFTER, BOTH, FIRST, LIFE, seen
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, SECOND, WEB, agent, bundle, leaf, root, workload


class TestAgents:
    """Who acknowledges."""

    def test_an_agent_with_its_leaf_is_one_workload(self) -> None:
        """Trust is the agent's word, the signer the ledger's."""
        (one,) = seen([agent()], [leaf("1", NOW - HOUR, node="n1")])
        assert one == Workload(
            identity=WEB,
            pod="web-1",
            node="n1",
            word=Word.ACKNOWLEDGED,
            trusts=BOTH,
            given_at=None,
            signers=frozenset({OLD}),
            leaf_ends=NOW + DAY / 2,
            seen_at=NOW,
            connected=True,
            acknowledges=True,
            ends=((OLD, NOW + DAY / 2),),
        )

    @pytest.mark.parametrize("grade", [Grade.ENVOY, Grade.AGENT, Grade.REFUSED], ids=str)
    def test_what_is_in_force_is_trusted(self, grade: Grade) -> None:
        """Also by one that refused what came after it."""
        (one,) = seen([agent("a", grade, error="no")])
        assert (one.word, one.trusts, one.trouble) == (Word.ACKNOWLEDGED, FIRST, "no")

    def test_one_that_has_not_answered_trusts_nothing(self) -> None:
        """What it says it held before is no word."""
        (one,) = seen([agent("a+b", Grade.NONE)])
        assert (one.word, one.trusts, one.acknowledges) == (Word.NONE, frozenset(), True)

    def test_a_version_that_is_not_remembered_trusts_nothing(self) -> None:
        """Also on its best word."""
        assert seen([agent("z")])[0].trusts == frozenset()

    def test_policies_say_nothing_of_roots(self) -> None:
        """Other kinds are passed over."""
        assert seen([agent(kind=Kind.POLICIES)]) == ()

    @pytest.mark.parametrize(
        ("seen_at", "connected", "count"),
        [
            (NOW - 10 * MINUTE, False, 1),
            (NOW - 10 * MINUTE - SECOND, False, 0),
            (NOW - DAY, True, 1),
        ],
        ids=["lately", "long-ago", "connected"],
    )
    def test_who_is_gone_does_not_count(self, seen_at: datetime, connected: bool, count: int) -> None:  # noqa: FBT001 - a row
        """Unless its stream is open."""
        assert len(seen([agent(seen_at=seen_at, connected=connected)])) == count

    def test_an_agent_that_holds_a_leaf_counts_however_silent(self) -> None:
        """It may come back and meet the others; what it last acknowledged is what it trusts."""
        (one,) = seen([agent("a", seen_at=NOW - HOUR, connected=False)], [leaf("1", AFTER)])
        assert (one.word, one.trusts, one.connected) == (Word.ACKNOWLEDGED, FIRST, False)

    def test_the_latest_sign_of_life_counts(self) -> None:
        """A leaf is one, too."""
        (one,) = seen([agent(seen_at=NOW - HOUR, connected=False)], [leaf("1", NOW - MINUTE)])
        assert one.seen_at == NOW - MINUTE

    def test_an_open_stream_speaks_for_its_pod(self) -> None:
        """An agent under another name that is gone does not."""
        (one,) = seen([agent("a", node_id="x", connected=False, seen_at=NOW + SECOND), agent("a+b", node_id="y")])
        assert (one.trusts, one.connected) == (BOTH, True)

    def test_two_open_streams_of_a_pod_trust_what_both_trust(self) -> None:
        """Either may be the one that breaks."""
        (one,) = seen([agent("a", node_id="x"), agent("a+b", node_id="y")])
        assert one.trusts == {OLD}

    def test_an_agent_that_is_gone_speaks_for_its_envoys_while_another_of_its_pod_is_there(self) -> None:
        """They go on with what was in force there: until that ends the pod trusts no more than they do."""
        gone = agent("a", node_id="x", connected=False, seen_at=NOW - HOUR, leaf="1", error="no")
        rows = [gone, agent(node_id="y", leaf="2")]
        leaves = [leaf("1", NOW - 2 * HOUR), leaf("2", NOW - MINUTE, signer="ib")]
        (one,) = seen(rows, leaves)
        assert (one.trusts, one.signers, one.connected) == (FIRST, BOTH, False)
        assert (one.seen_at, one.trouble) == (NOW - HOUR, "no")
        (one,) = seen(rows, leaves[1:])
        assert (one.trusts, one.signers, one.connected, one.trouble) == (BOTH, frozenset({NEW}), True, "")

    def test_without_open_streams_the_one_heard_last_speaks(self) -> None:
        """The other one is its predecessor."""
        rows = [agent("a", node_id="x", connected=False), agent("a+b", node_id="y", connected=False)]
        (one,) = seen([rows[0], replace(rows[1], seen_at=NOW - MINUTE)])
        assert one.trusts == {OLD}

    def test_pods_of_one_name_in_two_clusters_are_one_agent_with_both_leaves(self) -> None:
        """Whatever either holds counts."""
        (one,) = seen([agent()], [leaf("1", uid="u1"), leaf("2", NOW - HOUR, uid="u2", signer="ib")])
        assert one.signers == BOTH

    def test_each_signer_has_its_own_end(self) -> None:
        """A leaf that is replaced is in use until the new one has settled."""
        (one,) = seen([agent(leaf="2")], [leaf("1"), leaf("2", NOW - MINUTE, signer="ib", ends=NOW + DAY)])
        assert one.ends == ((OLD, NOW + 9 * MINUTE), (NEW, NOW + DAY))

    def test_what_agents_say_of_policies_says_nothing_of_leaves(self) -> None:
        """Only with the roots is it said which certificate is in force."""
        rows = [agent(leaf="1"), agent(kind=Kind.POLICIES, leaf="2")]
        (one,) = seen(rows, [leaf("1"), leaf("2", NOW - HOUR, signer="ib")])
        assert one.signers == BOTH

    def test_an_agent_that_is_gone_is_remembered(self) -> None:
        """Beside another in its pod it may still hold the elder leaf."""
        rows = [agent(leaf="2", node_id="x"), agent(leaf="1", node_id="y", connected=False, seen_at=NOW - HOUR)]
        (one,) = seen(rows, [leaf("1"), leaf("2", NOW - HOUR, signer="ib")])
        assert one.signers == BOTH


class TestSilent:
    """Who cannot acknowledge: pilot-agent and ztunnel."""

    def test_what_came_with_the_newest_leaf_is_trusted(self) -> None:
        """From the instant on at which it came."""
        (one,) = seen(leaves=[leaf("1", NOW - DAY), leaf("2", AFTER)])
        assert (one.word, one.trusts, one.given_at, one.connected) == (Word.DELIVERED, BOTH, AFTER, False)

    def test_who_renews_often_has_had_the_roots_since_the_first_time(self) -> None:
        """Renewal does not begin the wait anew."""
        moments = [NOW - DAY, AFTER, NOW - 20 * MINUTE, NOW - MINUTE]
        (one,) = seen(leaves=[leaf(str(n), moment) for n, moment in enumerate(moments)])
        assert one.given_at == AFTER

    def test_a_leaf_from_before_the_bundle_did_not_bring_it(self) -> None:
        """It came with the one before."""
        assert seen(leaves=[leaf("1", NOW - 2 * HOUR)])[0].trusts == {OLD}

    def test_a_leaf_from_before_every_bundle_brought_nothing(self) -> None:
        """Nobody knows what it came with."""
        (one,) = seen(leaves=[leaf("1", NOW - 3 * DAY)])
        assert (one.word, one.trusts, one.given_at) == (Word.NONE, frozenset(), None)

    def test_a_root_that_went_does_not_begin_the_wait_anew(self) -> None:
        """The others were there all the time."""
        life = replace(LIFE, bundles=(bundle(1, NOW - 2 * DAY, OLD, NEW), bundle(2, NOW - HOUR, NEW)))
        (one,) = seen(leaves=[leaf("1", NOW - DAY), leaf("2", AFTER)], life=life)
        assert (one.trusts, one.given_at) == (frozenset({NEW}), NOW - DAY)

    def test_each_identity_that_a_node_proxy_asks_for_is_a_workload(self) -> None:
        """Also beside an agent in the same pod."""
        other = "spiffe://cluster.local/ns/shop/sa/api"
        proxied = [
            leaf(name, identity=name, node="n1", requested_by="istio-system/ztunnel") for name in (WEB, other)
        ]
        found = seen([agent()], proxied)
        assert [(one.identity, one.acknowledges) for one in found] == [(other, False), (WEB, False), (WEB, True)]

    def test_a_signer_that_is_not_known_may_be_below_any_root(self) -> None:
        """Never below none."""
        assert seen(leaves=[leaf("1", signer="unheard of")])[0].signers == BOTH

    def test_our_own_certificates_are_no_workloads(self) -> None:
        """They name the trust domain."""
        assert seen(leaves=[leaf("1", identity="spiffe://cluster.local", pod="")]) == ()


def test_nobody_is_seen_where_nobody_is() -> None:
    """An empty store gives an empty fleet."""
    assert seen(life=EMPTY) == ()


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (workload(), NOW + DAY / 2),
        (workload(ends=((OLD, NOW + HOUR),)), NOW + HOUR),
        (workload(signers=frozenset({NEW})), None),
    ],
    ids=["only-the-last-is-known", "known", "no-leaf-below"],
)
def test_the_end_below_a_root(one: Workload, expected: datetime | None) -> None:
    """The last of the leaves below it, or of all when that is all that is known."""
    assert one.ends_below(OLD) == expected


@given(
    issued=st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(["", "p", "q"]), st.booleans()), max_size=12)
)
def test_the_newest_leaf_of_everybody_is_counted(issued: list[tuple[int, str, bool]]) -> None:
    """Nobody who was issued a leaf that lives is missing, and every signer in use is told."""
    leaves = [
        leaf(str(n), NOW - age * MINUTE, pod=pod, signer="ib" if new else "ia")
        for n, (age, pod, new) in enumerate(issued)
    ]
    found = seen(leaves=leaves, life=replace(LIFE, records=(root(OLD), root(NEW), *LIFE.records[2:])))
    for pod in {one.pod for one in leaves}:
        newest = max((one for one in leaves if one.pod == pod), key=lambda one: one.issued_at)
        signers = frozenset[str]().union(*(one.signers for one in found if one.pod == pod))
        assert (NEW if newest.signer == "ib" else OLD) in signers
