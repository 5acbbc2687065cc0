"""What the parent does beside serving: shows when its certificates end, and removes old records.

Each runs for ever; a store that is not there now is met again at the next turn.
"""

from __future__ import annotations

from typing import Final

from meshca import metrics
from meshca.app.in_force import InForce
from meshca.clock import Clock
from meshca.errors import MeshcaError
from meshca.log import log
from meshca.rotation import Rotation
from meshca.store.engine import Store

PRUNE_SECONDS: Final = 3600.0


async def show_expiry(rotation: Rotation, clock: Clock) -> None:
    """Keep the gauges of our own certificates and the count of the upstream's failures."""
    failures = 0
    while True:
        progress = rotation.progress
        if progress.slot is not None:
            for kind, ends in progress.slot.expiries.items():
                metrics.expires(kind, ends)
        metrics.reload_failures.labels("upstream").inc(progress.failures - failures)
        failures = progress.failures
        await clock.sleep(1.0)


async def prune(store: Store, in_force: InForce, clock: Clock) -> None:
    """Remove the records of certificates that ended longer ago than the retention in force, every hour."""
    while True:
        before = clock.now() - in_force.loaded.config.ledger.retention
        try:
            removed = await store.ledger.prune(before)
            await store.adoption.forget(before)
        except MeshcaError as error:
            log.warning("ledger.prune_failed", reason=error.reason, detail=error.detail)
        else:
            log.info("ledger.pruned", records=removed)
        await clock.sleep(PRUNE_SECONDS)
