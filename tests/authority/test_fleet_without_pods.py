"""Agents and leaves of no pod: what belongs together is in doubt, and names that are made up move no share."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.adoption import Grade
from meshca.authority.fleet import Word
from meshca.authority.gate import Terms, activate_gate
from meshca.authority.lifecycle import State
from tests.authority.seen_fleet import AFTER, BOTH, FIRST, LIFE, seen
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, agent, bundle, leaf, root


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
