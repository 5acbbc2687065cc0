"""Which leaves are in use, and who holds them together: one workload has several while they take turns.

Pure. A leaf is in use until it ends, or until a later one has settled of which it is known that the holder has it.
That it was signed and recorded is no such knowledge: the answer may be lost on its way. It is known of what an
agent says is in force, and of what was shown to have another issued (ADR 19).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId
from meshca.validity import ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate that may be in somebody's hands, as the ledger has it.

    Attributes:
        identity: its SPIFFE ID.
        pod, pod_uid: the pod that its holder is bound to, empty when unbound.
        node: the node of that pod, empty when unknown.
        requested_by: the node proxy that asked for it and holds its key; empty for the workload itself.
        serial: of the certificate.
        parent_serial: of the certificate that proved who asked, empty for a token.
        signer: the id of the signing certificate.
        issued_at: when it was signed.
        ends: when it ends.
    """

    identity: str
    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    requested_by: str = ""
    serial: str
    parent_serial: str = ""
    signer: str
    issued_at: datetime
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Leaves that one holder had, one after the other.

    Attributes:
        leaves: those that live, oldest first; at least one.
        bound: whether the holder is known by its pod or node; otherwise only by the chain of its leaves.
        in_use: those that are in use, and until when each is at the latest.
    """

    leaves: tuple[Leaf, ...]
    bound: bool
    in_use: tuple[tuple[Leaf, datetime], ...]

    @property
    def newest(self) -> Leaf:
        """The leaf issued last."""
        return self.leaves[-1]


# By identity and the pod's uid (its name where that is not known, empty when unbound): the serials of what the
# agents there say is in force, an empty one for an agent that does not say it.
Said = Mapping[tuple[str, str], Collection[str]]


def holders(leaves: Sequence[Leaf], said: Said, settle: timedelta, now: datetime) -> list[Holder]:
    """Who holds what; certificates that are no workload's (our own ports') are left out.

    Args:
        leaves: in any order.
        said: by agents; where one speaks, nothing else counts: it has a leaf before its Envoys do.
        settle: how long after a new leaf the one before still counts as in use.
        now: the time.
    """
    workload = {identity: _of_workload(identity) for identity in {leaf.identity for leaf in leaves}}
    live = [leaf for leaf in leaves if workload[leaf.identity] and not ended(leaf.ends, now)]
    live.sort(key=lambda leaf: leaf.issued_at)
    groups = _groups(live)
    follows = _followed(live, groups, said)
    found = []
    for (_, kind, _), group in groups.items():
        in_use = tuple(
            (leaf, _until(leaf, follows, settle)) for leaf in group if _used(leaf, follows, settle, now)
        )
        found.append(Holder(leaves=tuple(group), bound=kind != _CHAIN, in_use=in_use))
    return found


_CHAIN = "chain"
_POD = "pod"
_Key = tuple[str, str, str]  # identity, how the holder is known, its name


def _groups(live: Sequence[Leaf]) -> dict[_Key, list[Leaf]]:
    """Leaves by holder, each oldest first."""
    chains: dict[str, str] = {}  # serial -> serial of the oldest leaf that lives of its chain
    groups: dict[_Key, list[Leaf]] = {}
    for leaf in live:
        chains[leaf.serial] = chains.get(leaf.parent_serial, leaf.serial)
        groups.setdefault(_holder(leaf, chains[leaf.serial]), []).append(leaf)
    return groups


def _holder(leaf: Leaf, chain: str) -> _Key:
    # Pods of one name may be in two clusters, so the uid counts. A node proxy holds one leaf of an identity for
    # all pods on its node, under the name of any of them.
    pod = leaf.pod_uid or leaf.pod
    if leaf.requested_by:
        return leaf.identity, f"{leaf.requested_by} on {leaf.node}", "" if leaf.node else pod
    return (leaf.identity, _POD, pod) if pod else (leaf.identity, _CHAIN, chain)


def _followed(live: Sequence[Leaf], groups: Mapping[_Key, Sequence[Leaf]], said: Said) -> dict[str, datetime]:
    """By serial: when the first leaf came that surely took its place; what is in force keeps its own."""
    in_force = {leaf.serial for leaf in live if leaf.serial in _said(leaf, said)}
    shown = {leaf.parent_serial for leaf in live if not _said(leaf, said)}
    follows = _descended(live, in_force | shown)
    for (_, kind, _), group in groups.items():
        if kind == _POD:
            follows |= _before_all(group, _said(group[0], said))
    return {serial: moment for serial, moment in follows.items() if serial not in in_force}


def _said(leaf: Leaf, said: Said) -> set[str]:
    """What the agents of a leaf's pod say; one whose uid is not known speaks for every pod of its name."""
    names = {leaf.pod_uid or leaf.pod, leaf.pod}
    return {serial for name in names for serial in said.get((leaf.identity, name), ())}


def _descended(live: Sequence[Leaf], had: Collection[str]) -> dict[str, datetime]:
    """By serial: when the first leaf came that its holder surely has, and that descends from it.

    Never of another holder: a node proxy's own certificate is the parent of those that it asks for.
    """
    known = {leaf.serial: leaf for leaf in live}
    moments: dict[str, datetime] = {}
    for leaf in live:
        before = _before(leaf, known) if leaf.serial in had else None
        while before is not None and before.serial not in moments:
            moments[before.serial] = leaf.issued_at
            before = _before(before, known)
    return moments


def _before(leaf: Leaf, known: Mapping[str, Leaf]) -> Leaf | None:
    """The leaf that its holder showed for this one."""
    parent = known.get(leaf.parent_serial)
    return parent if parent is not None and _holder(parent, "") == _holder(leaf, "") else None


def _before_all(group: Sequence[Leaf], said: Collection[str]) -> dict[str, datetime]:
    """By serial: when the eldest came of those that a pod's agents have in force; none while one has not said."""
    had = [leaf for leaf in group if leaf.serial in said]
    if not had or len(had) < len(said):
        return {}
    return {leaf.serial: had[0].issued_at for leaf in group if leaf.issued_at < had[0].issued_at}


def _until(leaf: Leaf, follows: dict[str, datetime], settle: timedelta) -> datetime:
    moment = follows.get(leaf.serial)
    return leaf.ends if moment is None else min(leaf.ends, moment + settle)


def _used(leaf: Leaf, follows: dict[str, datetime], settle: timedelta, now: datetime) -> bool:
    moment = follows.get(leaf.serial)
    return moment is None or now < moment + settle


def _of_workload(identity: str) -> bool:
    try:
        SpiffeId.parse(identity)
    except BadRequest:
        return False
    return True
