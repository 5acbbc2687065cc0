"""Warns in time of the end of what signs, when nothing newer has come, and of every root that is trusted.

Nobody else does for a plugged-in CA: no renewal fails, for there is none of ours; certificates only get shorter
until there are none. When a root's end is near is for `rotation.explain` to say. Says what to do, and never
decides anything.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.app.in_force import InForce
from meshca.authority.history import Kind
from meshca.authority.slot import Slot
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, SecretConfig, signs_leaves
from meshca.config.vault import VaultConfig
from meshca.errors import MeshcaError
from meshca.log import log
from meshca.rotation.driver import Rotation
from meshca.rotation.explain import endings
from meshca.rotation.report import RootReport
from meshca.upstream.ca_certificates import BACKDATE

INTERVAL: Final = 5.0  # seconds between two looks
ROOTS_EVERY: Final = (
    120  # so many looks at the signer come between two at the roots, for which workloads are counted
)
PART: Final = 5  # of a life that is left when the warnings begin: who renews at a third is late by then
LONGEST: Final = timedelta(days=30)  # of warnings; for years nobody would look at them
MOST_URGENT: Final = 32  # halvings; the last is far below a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An end that is near.

    Attributes:
        detail: what ends when, and what to do.
        urgency: how often what was left at the first warning has halved since.
    """

    detail: str
    urgency: int


def autonomy(slot: Slot | None, config: ServerConfig, now: datetime) -> timedelta:
    """For how long certificates can be issued if the upstream gives nothing more; nothing while none signs."""
    if slot is None or signs_leaves(config.upstream):
        return timedelta(0)
    return max(min(one.not_valid_after_utc for one in slot.path) - now, timedelta(0))


def ending(slot: Slot, config: ServerConfig, now: datetime, *, alone: bool = False) -> Ending | None:
    """The end of the certificate that ends first of those that sign below the root, if it is near.

    Near is the last fifth of its life, 30 days at most. In a plugged-in CA also twice the default lifetime of a
    workload's certificate, if that is longer, and half of its own life at most: below that lifetime certificates
    are cut short. While Vault does not sign (`alone`) it is near from its half life on, when the next is due.
    """
    if len(slot.path) == 1:  # the root signs itself
        return None
    first = min(slot.path[:-1], key=lambda certificate: certificate.not_valid_after_utc)
    end = first.not_valid_after_utc
    life = end - first.not_valid_before_utc
    near = min(life / PART, LONGEST)
    if isinstance(config.upstream, FilesConfig | SecretConfig):
        near = min(max(near, 2 * config.svid.default_lifetime), life / 2)
    if alone and isinstance(config.upstream, VaultConfig):
        near = max(near, (life - BACKDATE) / 2)
    left = end - now
    if left > near:
        return None
    urgency = min(int(math.log2(near / left)), MOST_URGENT) if left > timedelta(0) else MOST_URGENT
    verb = "ends" if left > timedelta(0) else "ended"
    return Ending(detail=f"the intermediate {verb} at {end.isoformat()}: {_todo(config)}", urgency=urgency)


def _todo(config: ServerConfig) -> str:
    """What to do about it."""
    upstream = config.upstream
    if isinstance(upstream, FilesConfig):
        return f"put a new intermediate into {upstream.dir}"
    if isinstance(upstream, SecretConfig):
        return "put a new intermediate into the Secret, or mend what signer.refused in the log names"
    if isinstance(upstream, VaultConfig):
        return "Vault did not sign another; run `meshca vault check`, which says what is wrong"
    return "it could not be renewed; mend what signer.refused in the log names"


class EndWatch:
    """Looks at the signer in force and at the trusted roots all the time.

    Args:
        rotation: knows the signer.
        in_force: what is configured.
        report: tells how the roots stand.
        clock: what is near is decided by it.

    Attributes:
        warning: the ends that are near, for people; empty when none is.
    """

    def __init__(
        self,
        rotation: Rotation,
        in_force: InForce,
        report: Callable[[], Awaitable[RootReport]],
        clock: Clock,
    ) -> None:
        self._rotation = rotation
        self._in_force = in_force
        self._report = report
        self._clock = clock
        self.warning = ""
        self._roots: tuple[str, ...] = ()
        self._told: tuple[str, int] | None = None
        self._told_roots: dict[str, int] = {}

    async def run(self) -> None:
        """Look for ever; at roots, whose ends are told with who would break, more seldom."""
        while True:
            await self._look_at_roots()
            for _ in range(ROOTS_EVERY):
                self._look()
                await self._clock.sleep(INTERVAL)

    def _look(self) -> None:
        """Keep the warning; log it when it is new and each time that half of the rest has gone."""
        progress, config = self._rotation.progress, self._in_force.loaded.config
        found = None
        if progress.slot is not None:
            found = ending(progress.slot, config, self._clock.now(), alone=progress.error is not None)
        self.warning = "; ".join([*([found.detail] if found is not None else []), *self._roots])
        told = (found.detail, found.urgency) if found is not None else None
        if found is not None and told != self._told:
            log.warning("signer.ending", detail=found.detail)
        self._told = told

    async def _look_at_roots(self) -> None:
        """Keep the warnings; log each when it is new and when it gets more urgent."""
        try:
            report = await self._report()
        except MeshcaError as error:
            log.debug("root.not_looked_at", reason=error.reason, detail=error.detail)
            return
        near = [one for one in endings(report.authorities, self._clock.now()) if one.kind is Kind.ROOT]
        for one in near:
            if self._told_roots.get(one.authority) != one.urgency:
                log.warning("root.ending", root=one.authority, detail=one.words)
        self._told_roots = {one.authority: one.urgency for one in near}
        self._roots = tuple(one.words for one in near)
