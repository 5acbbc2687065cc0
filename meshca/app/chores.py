"""What the parent does beside serving: shows when its certificates end, and removes old records.

Each runs for ever; a store that is not there now is met again at the next turn.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from meshca import metrics
from meshca.app.ending import autonomy
from meshca.app.in_force import InForce
from meshca.authority.history import Kind, Lifecycle
from meshca.authority.lifecycle import TRUSTED
from meshca.authority.material import ends_at
from meshca.clock import Clock
from meshca.errors import MeshcaError
from meshca.log import log
from meshca.rotation.driver import Rotation
from meshca.store.engine import Store

PRUNE_SECONDS: Final = 3600.0


async def show_expiry(rotation: Rotation, in_force: InForce, clock: Clock) -> None:
    """Keep the gauges of our own certificates, of trusted roots and of autonomy, and the upstream's failures."""
    failures = 0
    while True:
        progress = rotation.progress
        if progress.slot is not None:
            for kind, ends in progress.slot.expiries.items():
                metrics.expires(kind, ends)
            config = in_force.loaded.config
            metrics.upstream_autonomy.set(autonomy(progress.slot, config, clock.now()).total_seconds())
        metrics.roots_expire(_ends(progress.kept))
        metrics.reload_failures.labels("upstream").inc(progress.failures - failures)
        failures = progress.failures
        await clock.sleep(1.0)


def _ends(kept: Lifecycle) -> dict[str, datetime | None]:
    """When the first of the trusted roots ends, by state."""
    return {
        state.value: min((ends_at(root.pem) for root in kept.of(Kind.ROOT, state)), default=None)
        for state in sorted(TRUSTED)
    }


async def prune(store: Store, in_force: InForce, clock: Clock) -> None:
    """Remove, every hour, what is too old: records of certificates by the retention in force, and agents.

    An agent that was away for longer than any certificate lives holds nothing that is valid: what it has adopted
    tells nobody whether a root may go.
    """
    while True:
        config = in_force.loaded.config
        try:
            removed = await store.ledger.prune(clock.now() - config.ledger.retention)
            await store.adoption.forget(clock.now() - config.svid.max_lifetime)
        except MeshcaError as error:
            log.warning("ledger.prune_failed", reason=error.reason, detail=error.detail)
        else:
            log.info("ledger.pruned", records=removed)
        await clock.sleep(PRUNE_SECONDS)
