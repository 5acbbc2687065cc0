"""Roots, leaves, agents and workloads as values, with everything filled in that a test does not care about."""

from __future__ import annotations

from datetime import datetime, timedelta

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.authority.fleet import Word, Workload
from meshca.authority.history import Bundle, Lifecycle, Record
from meshca.authority.history import Kind as AuthorityKind
from meshca.authority.leaves import Leaf
from meshca.authority.lifecycle import State
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.pki import DAY, NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
WEB = "spiffe://cluster.local/ns/shop/sa/web"
OLD, NEW = "a" * 64, "b" * 64


def root(id_: str = OLD, state: State = State.ACTIVE, since: datetime = NOW - DAY) -> Record:
    """A root whose text names it."""
    return Record(id=id_, kind=AuthorityKind.ROOT, state=state, pem=f"{id_}\n", since=since)


def intermediate(
    id_: str, parent: str, state: State = State.ACTIVE, since: datetime = NOW - DAY, replica: str = "one"
) -> Record:
    """An intermediate below a root."""
    return Record(
        id=id_,
        kind=AuthorityKind.INTERMEDIATE,
        state=state,
        pem=f"{id_}\n",
        parent=parent,
        since=since,
        replica=replica,
    )


def bundle(sequence: int, at: datetime, *roots: str) -> Bundle:
    """A bundle that is called by its roots."""
    return Bundle(sequence=sequence, version="+".join(one[0] for one in roots), roots=roots, at=at)


def rotating(old: State = State.ACTIVE, new: State = State.DISTRIBUTING) -> Lifecycle:
    """Two roots, the new one given out an hour ago, with an intermediate below each: `ia` and `ib`."""
    return Lifecycle(
        generation=7,
        records=(root(OLD, old), root(NEW, new), intermediate("ia", OLD), intermediate("ib", NEW)),
        bundles=(bundle(1, NOW - 2 * DAY, OLD), bundle(2, NOW - HOUR, OLD, NEW)),
    )


def leaf(  # what a test cares about, by name
    serial: str,
    issued_at: datetime = NOW - DAY / 2,
    *,
    identity: str = WEB,
    pod: str = "web-1",
    uid: str = "",
    node: str = "",
    requested_by: str = "",
    parent: str = "",
    signer: str = "ia",
    ends: datetime = NOW + DAY / 2,
) -> Leaf:
    """A certificate."""
    return Leaf(
        identity=identity,
        pod=pod,
        pod_uid=uid,
        node=node,
        requested_by=requested_by,
        serial=serial,
        parent_serial=parent,
        signer=signer,
        issued_at=issued_at,
        ends=ends,
    )


def agent(
    version: str = "a+b",
    grade: Grade = Grade.ENVOY,
    *,
    pod: str = "web-1",
    node_id: str = "web-1",
    seen_at: datetime = NOW,
    connected: bool = True,
    error: str = "",
    kind: Kind = Kind.ROOTS,
    leaf: str = "",
    instance: str = "",
    stream: str = "",
) -> Adoption:
    """What an agent holds; versions are as of `bundle`."""
    return Adoption(
        agent=SpiffeId.parse(WEB),
        node_id=node_id,
        pod=pod,
        kind=kind,
        sent_version=version,
        adopted_version=version,
        grade=grade,
        error=error,
        seen_at=seen_at,
        connected=connected,
        worker="worker",
        stream=stream or f"{pod}/{node_id}",
        leaf=leaf,
        instance=instance,
    )


def workload(
    pod: str = "web-1",
    *,
    word: Word = Word.ACKNOWLEDGED,
    trusts: frozenset[str] = frozenset({OLD, NEW}),
    given_at: datetime | None = None,
    signers: frozenset[str] = frozenset({OLD}),
    leaf_ends: datetime | None = NOW + DAY / 2,
    seen_at: datetime = NOW,
    connected: bool = True,
    trouble: str = "",
    acknowledges: bool | None = None,
    ends: tuple[tuple[str, datetime], ...] = (),
) -> Workload:
    """A workload, by default one that trusts both roots and holds a leaf below the old one."""
    return Workload(
        identity=WEB,
        pod=pod,
        node="",
        word=word,
        trusts=trusts,
        given_at=given_at,
        signers=signers,
        leaf_ends=leaf_ends,
        seen_at=seen_at,
        connected=connected,
        trouble=trouble,
        acknowledges=word is Word.ACKNOWLEDGED if acknowledges is None else acknowledges,
        ends=ends,
    )


def silent(pod: str = "pilot-1", *, given_at: datetime | None = None, seen_at: datetime = NOW) -> Workload:
    """A workload that cannot acknowledge; without an instant it was given the old root only."""
    return workload(
        pod,
        word=Word.DELIVERED,
        trusts=frozenset({OLD, NEW} if given_at is not None else {OLD}),
        given_at=given_at,
        seen_at=seen_at,
        connected=False,
    )
