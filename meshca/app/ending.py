"""Warns in time of the end of what signs, when nothing newer has come.

Nobody else does for a plugged-in CA: no renewal fails, for there is none of ours; certificates only get shorter
until there are none. Says what to do, and never decides anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshca.app.in_force import InForce
from meshca.authority.slot import Slot
from meshca.clock import Clock
from meshca.config.server import ServerConfig
from meshca.config.upstream import FilesConfig, SecretConfig
from meshca.log import log
from meshca.rotation.driver import Rotation

INTERVAL: Final = 5.0  # seconds between two looks
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


def ending(slot: Slot, config: ServerConfig, now: datetime) -> Ending | None:
    """The end of the certificate that ends first of those that sign, if it is near.

    Near is the last fifth of its life, 30 days at most. In a plugged-in CA also twice the default lifetime of a
    workload's certificate, if that is longer, and half of its own life at most: below that lifetime certificates
    are cut short.
    """
    first = min(slot.path, key=lambda certificate: certificate.not_valid_after_utc)
    end = first.not_valid_after_utc
    life = end - first.not_valid_before_utc
    near = min(life / PART, LONGEST)
    if isinstance(config.upstream, FilesConfig | SecretConfig):
        near = min(max(near, 2 * config.svid.default_lifetime), life / 2)
    left = end - now
    if left > near:
        return None
    what, todo = _todo(config, root=first == slot.path[-1])
    urgency = min(int(math.log2(near / left)), MOST_URGENT) if left > timedelta(0) else MOST_URGENT
    verb = "ends" if left > timedelta(0) else "ended"
    return Ending(detail=f"{what} {verb} at {end.isoformat()}: {todo}", urgency=urgency)


def _todo(config: ServerConfig, *, root: bool) -> tuple[str, str]:
    """What ends, and what to do about it."""
    upstream = config.upstream
    if isinstance(upstream, FilesConfig):
        if root:
            todo = (
                f"put a new root and an intermediate below it into {upstream.dir}, and watch `meshca root status`"
            )
            return "the root", todo
        return "the intermediate", f"put a new intermediate into {upstream.dir}"
    if isinstance(upstream, SecretConfig):
        if root:
            return (
                "the root",
                "put a new root and an intermediate below it into the Secret, or begin with `meshca root rotate`",
            )
        return (
            "the intermediate",
            "put a new intermediate into the Secret, or mend what signer.refused in the log names",
        )
    if root:
        return "the root", "begin to replace it with `meshca root rotate`; nothing restarts"
    return "the intermediate", "it could not be renewed; mend what signer.refused in the log names"


class EndWatch:
    """Looks at the signer in force all the time.

    Attributes:
        warning: the end that is near, for people; empty when none is.
    """

    def __init__(self, rotation: Rotation, in_force: InForce, clock: Clock) -> None:
        self.warning = ""
        self._rotation = rotation
        self._in_force = in_force
        self._clock = clock
        self._told: tuple[str, int] | None = None

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._look()
            await self._clock.sleep(INTERVAL)

    def _look(self) -> None:
        """Keep the warning; log it when it is new and each time that half of the rest has gone."""
        slot = self._rotation.progress.slot
        found = ending(slot, self._in_force.loaded.config, self._clock.now()) if slot is not None else None
        self.warning = found.detail if found is not None else ""
        told = (found.detail, found.urgency) if found is not None else None
        if found is not None and told != self._told:
            log.warning("signer.ending", detail=found.detail)
        self._told = told
