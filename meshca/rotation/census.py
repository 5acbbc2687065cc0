"""Counts the fleet: asks the stores what agents adopted and which leaves live, for the gates to judge.

A store that cannot be read makes no fleet, and without one no gate is open.
"""

from __future__ import annotations

from datetime import timedelta

from meshca.authority.adoption import AdoptionStore
from meshca.authority.fleet import Workload, fleet
from meshca.authority.history import Lifecycle
from meshca.authority.leaves import Leaf
from meshca.clock import Clock
from meshca.ledger.port import LedgerStore
from meshca.ledger.record import LiveLeaf


class Census:
    """Counts on demand.

    Args:
        adoptions: what agents adopted.
        ledger: which leaves live.
        clock: what has ended is decided by it.
        seen_within: who was not seen for so long does not count.
        settle: how long a leaf that was replaced still counts as in use.
    """

    def __init__(
        self,
        *,
        adoptions: AdoptionStore,
        ledger: LedgerStore,
        clock: Clock,
        seen_within: timedelta,
        settle: timedelta,
    ) -> None:
        self._adoptions = adoptions
        self._ledger = ledger
        self._clock = clock
        self.seen_within = seen_within
        self._settle = settle

    async def workloads(self, lifecycle: Lifecycle) -> tuple[Workload, ...]:
        """Everyone who counts now.

        Raises:
            Unavailable: reason `store`.
        """
        now = self._clock.now()
        adoptions = await self._adoptions.list()
        leaves = [_leaf(leaf) for leaf in await self._ledger.live(now)]
        return fleet(adoptions, leaves, lifecycle, now, seen_within=self.seen_within, settle=self._settle)


def _leaf(leaf: LiveLeaf) -> Leaf:
    return Leaf(
        identity=leaf.spiffe_id,
        pod=leaf.pod_name,
        pod_uid=leaf.pod_uid,
        node=leaf.node_name,
        requested_by=leaf.requested_by,
        serial=leaf.serial,
        parent_serial=leaf.parent_serial,
        signer=leaf.signer,
        issued_at=leaf.issued_at,
        ends=leaf.not_after,
    )
