"""Who lives in the mesh, what each trusts, and whose signature it shows: measured, never estimated.

Pure: made of what subscribers acknowledged, of the leaves that have not ended, and of the bundles that were given
out. A workload is a proven identity in a pod; who has no pod is told apart by its leaf. What is in doubt counts
against a step: it must never let a gate open. What an agent calls itself is no proof: without a pod, those agents
of an identity that lack a root count each, and only when none does, all of them count once.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.authority.given import Given
from meshca.authority.history import Kind as AuthorityKind
from meshca.authority.history import Lifecycle
from meshca.authority.leaves import Holder, Leaf, Said, holders
from meshca.authority.lifecycle import State


class Word(enum.StrEnum):
    """On whose word a workload trusts what it trusts, the best first."""

    ACKNOWLEDGED = "acknowledged"
    """Its agent and every Envoy of it have the bundle in force, and no secret stands refused."""
    DELIVERED = "delivered"
    """The bundle came with an answer to its request (pilot-agent, ztunnel); that it is used is not known."""
    NONE = "none"
    """It was given nothing yet, or has not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload that was seen.

    Attributes:
        identity: its SPIFFE ID.
        pod: its pod's name, or the name that its agent calls itself; empty when neither is known.
        node: the node of its pod, empty when unknown.
        word: on whose word it trusts `trusts`.
        trusts: ids of the roots that it is believed to trust.
        given_at: since when it has had all of them; None when that is not known.
        signers: ids of the roots below which its leaves in use are; more than one while that is in doubt.
        leaf_ends: when the last of those leaves ends; None when it holds none.
        seen_at: when it was last heard or issued a leaf.
        connected: whether its agent's stream is open; of several agents, each one's whose Envoys may go on.
        trouble: why it holds up what it was sent, shortened and written by the agent, so not to be trusted; empty
            when it does not.
        acknowledges: whether an agent speaks for it, also one that has not answered yet.
        ends: for each of `signers`, until when a leaf below it is in use at the latest.
    """

    identity: str
    pod: str
    node: str
    word: Word
    trusts: frozenset[str]
    given_at: datetime | None
    signers: frozenset[str]
    leaf_ends: datetime | None
    seen_at: datetime
    connected: bool
    trouble: str = ""
    acknowledges: bool = False
    ends: tuple[tuple[str, datetime], ...] = ()

    def ends_below(self, root: str) -> datetime | None:
        """Until when a leaf below this root is in use at the latest; None when there is none, or it is unknown."""
        return dict(self.ends).get(root, self.leaf_ends) if root in self.signers else None


def fleet(  # noqa: PLR0913, PLR0917 - what is known, and the terms
    adoptions: Sequence[Adoption],
    leaves: Sequence[Leaf],
    lifecycle: Lifecycle,
    now: datetime,
    seen_within: timedelta,
    settle: timedelta,
) -> tuple[Workload, ...]:
    """Everybody who counts, by identity and pod.

    An agent counts while it is connected, was heard lately, or holds a leaf; who has no agent, while its leaf
    lives.

    Args:
        adoptions: what agents hold; only roots are looked at.
        leaves: certificates that have not ended.
        lifecycle: knows what was in which bundle, and which root each signer is below.
        now: the time.
        seen_within: how long ago an agent without a stream may have been heard.
        settle: how long a new leaf and the one before it both count as in use, once it is known that it came.
    """
    given = Given(lifecycle)
    held = [one for one in holders(leaves, _said(adoptions), settle, now) if one.in_use]
    used = {leaf.serial for holder in held for leaf, _ in holder.in_use}
    agents = _agents(adoptions, used, now - seen_within)
    theirs, own = _divide(agents, held, given)
    found = [_alone(holder, given) for holder in own]
    podless: dict[str, list[Workload]] = {}
    for key, one in agents.items():
        if one.counts or key in theirs:
            some = found if key[1] else podless.setdefault(key[0], [])
            some.append(_with_agent(one, theirs.get(key, _NOTHING), given))
    leaves_of = Counter(leaf.identity for one in held if not one.bound for leaf, _ in one.in_use)
    for identity, some in podless.items():
        found += _believed(some, leaves_of[identity], lifecycle)
    return tuple(sorted(found, key=lambda one: (one.identity, one.pod, one.seen_at)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agent:
    """What is heard of a workload through its agents: on streams that are open, otherwise on the one heard last.

    And of each that is gone while the certificate that it said was in force is in use: its Envoys go on with it.
    """

    rows: tuple[Adoption, ...]
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What leaves in use say of their holder."""

    node: str = ""
    issued_at: datetime | None = None
    last: datetime | None = None
    ends: tuple[tuple[str, datetime], ...] = ()


_NOTHING = _Held()
_Key = tuple[str, bool, str]  # identity, whether bound to a pod, the pod's or the agent's name


def _said(adoptions: Sequence[Adoption]) -> Said:
    """What is in force by the word of every agent that is remembered, also of one that was not heard for long."""
    said: dict[tuple[str, str], set[str]] = {}
    for one in adoptions:
        if one.kind is Kind.ROOTS:
            said.setdefault((str(one.agent), one.pod_uid or one.pod), set()).add(one.leaf)
    return said


def _agents(adoptions: Sequence[Adoption], used: Collection[str], since: datetime) -> dict[_Key, _Agent]:
    rows: dict[_Key, list[Adoption]] = {}
    for one in adoptions:
        if one.kind is Kind.ROOTS:
            rows.setdefault((str(one.agent), bool(one.pod), one.pod or one.node_id), []).append(one)
    return {key: _agent(of_key, used, since) for key, of_key in rows.items()}


def _agent(rows: list[Adoption], used: Collection[str], since: datetime) -> _Agent:
    latest = max(rows, key=lambda row: (row.connected, row.seen_at))
    heard = tuple(row for row in rows if row.connected or row is latest or row.leaf in used)
    return _Agent(rows=heard, counts=latest.connected or latest.seen_at >= since)


def _believed(some: list[Workload], leaves: int, lifecycle: Lifecycle) -> list[Workload]:
    """Who counts of an identity's agents without a pod: one for all, or once one lacks a root, each in doubt.

    So names that are made up raise no share: those that trust count once, and beside one that lacks not at all;
    who is in doubt is not believed about any root that does not sign yet. They lower it by no more than there are
    leaves in use to show; where none is known, each counts.
    """
    trusted = {root.id for root in lifecycle.trusted}
    coming = {root.id for root in lifecycle.of(AuthorityKind.ROOT, State.DISTRIBUTING)}

    def lacks(one: Workload) -> bool:
        return one.word is Word.NONE or not trusted <= one.trusts

    some = sorted(some, key=lambda one: (not lacks(one), one.connected, not one.trouble, one.pod))
    if not lacks(some[0]):
        return some[:1]
    doubtful = [one for one in some if lacks(one) or not one.connected or one.trouble]
    return [replace(one, trusts=one.trusts - coming) for one in doubtful[: leaves or None]]


def _divide(
    agents: dict[_Key, _Agent], found: Sequence[Holder], given: Given
) -> tuple[dict[_Key, _Held], list[Holder]]:
    """Whose leaves are an agent's, and whose are not."""
    bound: dict[_Key, list[Holder]] = {}
    unbound: dict[str, list[Holder]] = {}
    own: list[Holder] = []
    for holder in found:
        key = (holder.newest.identity, True, holder.newest.pod)
        if not holder.bound:
            unbound.setdefault(holder.newest.identity, []).append(holder)
        elif holder.newest.requested_by or key not in agents:
            own.append(holder)
        else:
            bound.setdefault(key, []).append(holder)
    theirs = {key: _held(some, given) for key, some in bound.items()}
    shared, rest = _share(agents, unbound, given)
    return theirs | shared, own + rest


def _share(
    agents: dict[_Key, _Agent], unbound: dict[str, list[Holder]], given: Given
) -> tuple[dict[_Key, _Held], list[Holder]]:
    """Leaves without a pod: nothing says which agent of an identity holds which.

    As many of the newest as there are such agents are held by any of them; all older ones stand for themselves.
    If those came with a root, all newer ones did.
    """
    names: dict[str, list[_Key]] = {}
    for key, agent in agents.items():
        if agent.counts and not key[1]:
            names.setdefault(key[0], []).append(key)
    theirs: dict[_Key, _Held] = {}
    own: list[Holder] = []
    for identity, some in unbound.items():
        some.sort(key=lambda holder: holder.newest.issued_at, reverse=True)
        keys = names.get(identity, [])
        theirs |= dict.fromkeys(keys, replace(_held(some[: len(keys)], given), issued_at=None))
        own += some[len(keys) :]
    return theirs, own


def _held(some: Sequence[Holder], given: Given) -> _Held:
    ends: dict[str, datetime] = {}
    for holder in some:
        for leaf, until in holder.in_use:
            for root in given.below(leaf.signer):
                ends[root] = max(until, ends.get(root, until))
    return _Held(
        node=next((holder.newest.node for holder in some), ""),
        issued_at=max((holder.newest.issued_at for holder in some), default=None),
        last=max((until for holder in some for _, until in holder.in_use), default=None),
        ends=tuple(sorted(ends.items())),
    )


def _with_agent(agent: _Agent, held: _Held, given: Given) -> Workload:
    """What the agent says of trust, and what its leaves say of signers."""
    rows = agent.rows
    worst = min(rows, key=lambda row: (row.connected, not row.error, row.node_id))  # one that does not answer
    answered = all(row.grade is not Grade.NONE for row in rows)
    gone = [row for row in rows if not row.connected]
    seen = max(row.seen_at for row in gone or rows)
    last = seen if 0 < len(gone) < len(rows) else held.issued_at or seen  # the newest leaf may be another agent's
    return Workload(
        identity=str(rows[0].agent),
        pod=worst.pod or worst.node_id,
        node=held.node,
        word=Word.ACKNOWLEDGED if answered else Word.NONE,
        trusts=frozenset.intersection(*(_trusted(row, given) for row in rows)),
        given_at=None,
        signers=frozenset(root for root, _ in held.ends),
        leaf_ends=held.last,
        seen_at=max(seen, last),
        connected=worst.connected,
        trouble=worst.error,
        acknowledges=True,
        ends=held.ends,
    )


def _trusted(row: Adoption, given: Given) -> frozenset[str]:
    """What one that refused still holds is trusted; what one that has not answered says it held is no word."""
    return frozenset() if row.grade is Grade.NONE else given.version(row.adopted_version)


def _alone(holder: Holder, given: Given) -> Workload:
    """What came with the newest leaf is trusted."""
    newest, held = holder.newest, _held([holder], given)
    trusts = given.at(newest.issued_at)
    return Workload(
        identity=newest.identity,
        pod=newest.pod,
        node=newest.node,
        word=Word.DELIVERED if trusts else Word.NONE,
        trusts=trusts,
        given_at=_since(holder, trusts, given) if trusts else None,
        signers=frozenset(root for root, _ in held.ends),
        leaf_ends=held.last,
        seen_at=newest.issued_at,
        connected=False,
        ends=held.ends,
    )


def _since(holder: Holder, trusts: frozenset[str], given: Given) -> datetime:
    """When the first leaf came since which every one came with all of these roots."""
    since = holder.newest.issued_at
    for leaf in reversed(holder.leaves):
        if not trusts <= given.at(leaf.issued_at):
            break
        since = leaf.issued_at
    return since
