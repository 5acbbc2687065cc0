"""Which leaves are in use, and who holds them together: one workload has several while they take turns.

Pure. A leaf is in use until it ends, or until a newer one of the same holder has settled. When it is not known
that a newer one took its place, it is in use until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def holders(leaves: Sequence[Leaf], settle: timedelta, now: datetime) -> list[Holder]:
    """Who holds what; certificates that are no workload's (our own ports') are left out.

    Args:
        leaves: in any order.
        settle: how long after a new leaf the one before still counts as in use.
        now: the time.
    """
    workload = {identity: _of_workload(identity) for identity in {leaf.identity for leaf in leaves}}
    live = [leaf for leaf in leaves if workload[leaf.identity] and not ended(leaf.ends, now)]
    live.sort(key=lambda leaf: leaf.issued_at)
    followed: dict[str, datetime] = {}  # serial -> when the first leaf came that takes its place
    for leaf in live:
        followed.setdefault(leaf.parent_serial, leaf.issued_at)
    found = []
    for (_, kind, _), group in _groups(live).items():
        bound = kind != _CHAIN
        follows = _by_turns(group, followed) if bound else followed
        in_use = tuple(
            (leaf, _until(leaf, follows, settle)) for leaf in group if _used(leaf, follows, settle, now)
        )
        found.append(Holder(leaves=tuple(group), bound=bound, in_use=in_use))
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


def _by_turns(group: Sequence[Leaf], followed: dict[str, datetime]) -> dict[str, datetime]:
    """When each leaf of a group was followed: by the next one, or by one that it proved."""
    follows: dict[str, datetime] = {}
    later: datetime | None = None  # when the first leaf came that is newer than those of this instant
    before = group[-1].issued_at
    for leaf in reversed(group):
        if leaf.issued_at != before:
            later, before = before, leaf.issued_at
        moments = [moment for moment in (later, followed.get(leaf.serial)) if moment is not None]
        if moments:
            follows[leaf.serial] = min(moments)
    return follows


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
