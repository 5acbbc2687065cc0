"""Who lives in the mesh, and what each trusts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.authority.fleet import Word, Workload, fleet
from meshca.authority.gate import Terms, activate_gate
from meshca.authority.given import FOLLOWED
from meshca.authority.history import EMPTY, Lifecycle
from meshca.authority.leaves import Leaf
from meshca.authority.lifecycle import State
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, SECOND, WEB, agent, bundle, leaf, root, rotating, workload

LIFE = rotating()
FIRST, BOTH = frozenset({OLD}), frozenset({OLD, NEW})
AFTER = NOW - HOUR + FOLLOWED  # when a bundle with the new root was surely out


def seen(
    adoptions: Sequence[Adoption] = (), leaves: Sequence[Leaf] = (), life: Lifecycle = LIFE
) -> tuple[Workload, ...]:
    """Everybody who counts now."""
    return fleet(adoptions, leaves, life, NOW, seen_within=10 * MINUTE, settle=10 * MINUTE)


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


class TestWithoutPods:
    """Agents and leaves that are bound to no pod."""

    def test_an_agent_holds_the_leaf_of_its_identity(self) -> None:
        """There is nobody else."""
        (one,) = seen([agent(pod="", node_id="laptop")], [leaf("1", pod="")])
        assert (one.pod, one.signers) == ("laptop", FIRST)

    def test_all_agents_of_an_identity_that_trust_count_once(self) -> None:
        """A name is not a proof: however many are made up, they do not move the share that a gate asks for."""
        agents = [agent(pod="", node_id=f"made up {number}") for number in range(100)]
        pods = [agent("a", pod=name, node_id=name) for name in ("web-1", "web-2")]
        assert [(one.pod, one.trusts) for one in seen([*agents, *pods])] == [
            ("made up 0", BOTH),
            ("web-1", FIRST),
            ("web-2", FIRST),
        ]

    def test_each_agent_that_lacks_a_root_counts_under_its_own_name(self) -> None:
        """Merged with those that trust, ten would weigh as much as one; who trusts does not count beside them."""
        agents = [agent("a" if number else "a+b", pod="", node_id=f"vm-{number}") for number in range(4)]
        assert [(one.pod, one.trusts) for one in seen(agents)] == [(f"vm-{n}", FIRST) for n in (1, 2, 3)]

    def test_agents_without_pods_that_lack_a_root_hold_a_share_that_is_not_whole(self) -> None:
        """Ten of twenty are half, also when they are of one identity; each is named."""
        pods = [agent(pod=f"web-{n}", node_id=f"web-{n}") for n in range(10)]
        machines = [agent("a", pod="", node_id=f"vm-{n}") for n in range(10)]
        terms = Terms(share=0.9, settle=10 * MINUTE, published_for=MINUTE)
        gate = activate_gate(seen([*pods, *machines]), NEW, terms, NOW - HOUR, NOW - HOUR, NOW)
        assert (gate.open, gate.ready, gate.of) == (False, 10, 20)
        assert sorted(one.workload.pod for one in gate.stragglers) == [f"vm-{n}" for n in range(10)]

    def test_what_is_said_of_an_agent_is_its_own(self) -> None:
        """Never the name of one with the words or the connection of another."""
        found = seen(
            [
                agent("a+b", Grade.NONE, pod="", node_id="x"),
                agent("a", Grade.REFUSED, pod="", node_id="y", error="disk full"),
                agent("a", pod="", node_id="z", connected=False),
            ]
        )
        assert [(one.pod, one.word, one.trusts, one.trouble, one.connected) for one in found] == [
            ("x", Word.NONE, frozenset(), "", True),
            ("y", Word.ACKNOWLEDGED, FIRST, "disk full", True),
            ("z", Word.ACKNOWLEDGED, FIRST, "", False),
        ]

    @pytest.mark.parametrize(
        ("connected", "error", "names"),
        [(True, "", ["y"]), (False, "", ["x", "y"]), (True, "no", ["x", "y"])],
        ids=["answers", "is-gone", "holds-up"],
    )
    def test_beside_one_that_lacks_a_root_each_counts_that_does_not_answer(
        self,
        connected: bool,  # noqa: FBT001 - a row
        error: str,
        names: list[str],
    ) -> None:
        """It may break, too; of what it said of the new root nothing is believed."""
        agents = [agent(pod="", node_id="x", connected=connected, error=error), agent("a", pod="", node_id="y")]
        assert [(one.pod, one.trusts) for one in seen(agents)] == [(name, FIRST) for name in names]

    @pytest.mark.parametrize(("connected", "error"), [(False, ""), (True, "no")], ids=["gone", "holds-up"])
    def test_of_agents_that_all_trust_one_that_does_not_answer_is_shown(self, connected: bool, error: str) -> None:  # noqa: FBT001 - a row
        """It is the one that would lose its trust."""
        agents = [agent(pod="", node_id="x"), agent(pod="", node_id="y", connected=connected, error=error)]
        (one,) = seen(agents)
        assert (one.pod, one.trusts, one.connected, one.trouble) == ("y", BOTH, connected, error)

    def test_two_streams_of_one_name_are_told_of_by_the_words_of_one(self) -> None:
        """That of the one that does not answer."""
        agents = [
            agent(pod="", node_id="x", stream="1", error="no"),
            agent(pod="", node_id="x", stream="2", connected=False, leaf="1"),
        ]
        (one,) = seen(agents, [leaf("1", pod="")])
        assert (one.connected, one.trouble) == (False, "")

    @pytest.mark.parametrize(("leaves", "count"), [(0, 9), (1, 1), (2, 2), (10, 9)])
    def test_no_more_names_lack_a_root_than_there_are_leaves(self, leaves: int, count: int) -> None:
        """Whoever makes them up can show no more; where nothing is known of leaves each counts."""
        agents = [agent("a", pod="", node_id=f"made up {number}") for number in range(9)]
        found = seen(agents, [leaf(str(number), AFTER, pod="") for number in range(leaves)])
        assert sum(one.acknowledges for one in found) == count

    def test_leaves_of_pods_are_not_shown_by_agents_without_one(self) -> None:
        """They move no bound."""
        agents = [agent("a", pod="", node_id=name) for name in ("x", "y")]
        found = seen(agents, [leaf("1", pod=""), leaf("2", pod="web-1")])
        assert [one.pod for one in found if one.acknowledges] == ["x"]

    def test_who_lacks_one_root_is_not_believed_about_another_that_is_to_come(self) -> None:
        """Else names that are made up could each trust one, by lacking the other."""
        third = "c" * 64
        life = replace(
            LIFE,
            records=(*LIFE.records, root(third, State.DISTRIBUTING)),
            bundles=(*LIFE.bundles, bundle(3, NOW - MINUTE, OLD, NEW, third)),
        )
        found = seen([agent(pod="", node_id=name) for name in ("x", "y")], life=life)
        assert [one.trusts for one in found] == [FIRST, FIRST]

    @given(
        honest=st.lists(st.sampled_from(["", "a", "a+b"]), min_size=1, max_size=4),
        made_up=st.lists(st.tuples(st.sampled_from(["", "a", "a+b"]), st.booleans()), max_size=4),
        leaves=st.integers(0, 5),
        pods=st.integers(0, 3),
    )
    def test_made_up_names_never_raise_a_share(
        self, honest: list[str], made_up: list[tuple[str, bool]], leaves: int, pods: int
    ) -> None:
        """Whatever they say, and whether or not they stay."""
        before = [agent("a" if n else "a+b", pod=f"p{n}", node_id=f"p{n}") for n in range(pods)]
        before += [agent(said, pod="", node_id=f"vm-{n}") for n, said in enumerate(honest)]
        more = [agent(said, pod="", node_id=f"a{n}", connected=on) for n, (said, on) in enumerate(made_up)]
        held = [leaf(str(n), AFTER, pod="") for n in range(leaves)]
        shares = []
        for agents in (before, before + more):
            speaking = [one for one in seen(agents, held) if one.acknowledges]
            shares.append(Fraction(sum(NEW in one.trusts for one in speaking), len(speaking)))
        assert shares[1] <= shares[0]

    def test_an_agent_that_was_gone_for_long_speaks_for_nobody(self) -> None:
        """Of an identity those count that are heard."""
        gone = agent("a", pod="", node_id="x", connected=False, seen_at=NOW - DAY)
        (one,) = seen([gone, agent(pod="", node_id="y")])
        assert (one.pod, one.trusts, one.connected) == ("y", BOTH, True)

    def test_which_agent_holds_which_leaf_is_in_doubt(self) -> None:
        """As many leaves as there are agents are theirs."""
        agents = [agent(pod="", node_id=name) for name in ("x", "y")]
        (one,) = seen(agents, [leaf("1", pod=""), leaf("2", pod="", signer="ib")])
        assert (one.pod, one.signers) == ("x", BOTH)

    def test_a_leaf_more_than_there_are_agents_stands_for_itself(self) -> None:
        """The oldest one: if that came with the new root, all later ones did."""
        found = seen([agent(pod="", node_id="x")], [leaf("1", NOW - 2 * HOUR, pod=""), leaf("2", AFTER, pod="")])
        assert [(one.pod, one.word, one.trusts) for one in found] == [
            ("", Word.DELIVERED, FIRST),
            ("x", Word.ACKNOWLEDGED, BOTH),
        ]

    def test_an_agent_that_is_gone_holds_no_leaf(self) -> None:
        """Its word must not cover somebody else's."""
        (one,) = seen([agent(pod="", node_id="x", connected=False, seen_at=NOW - DAY)], [leaf("1", AFTER, pod="")])
        assert (one.pod, one.word) == ("", Word.DELIVERED)

    def test_an_agent_that_calls_itself_like_a_pod_does_not_speak_for_it(self) -> None:
        """A name is not a proof; the pod's leaf stands for itself."""
        found = seen([agent(pod="", node_id="web-1")], [leaf("1", pod="web-1")])
        assert [(one.word, one.signers) for one in found] == [
            (Word.DELIVERED, FIRST),
            (Word.ACKNOWLEDGED, frozenset()),
        ]

    def test_a_leaf_of_which_it_is_not_known_whose_it_is_is_no_sign_of_life(self) -> None:
        """Agents were seen when they were heard."""
        agents = [agent(pod="", node_id=name, seen_at=NOW - HOUR) for name in ("x", "y")]
        (one,) = seen(agents, [leaf("1", NOW - MINUTE, pod="")])
        assert one.seen_at == NOW - HOUR

    def test_an_agent_with_a_pod_holds_no_leaf_without_one(self) -> None:
        """It has its own."""
        assert len(seen([agent()], [leaf("1", pod="")])) == 2


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
