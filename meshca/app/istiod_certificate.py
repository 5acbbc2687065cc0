"""istiod's serving certificate as a Secret that istiod mounts: issued by us, renewed at half of its life.

Signed and recorded like the certificate of our own ports, below the root that has been trusted longest: a proxy
that has not got a new root yet still believes istiod. Made anew at once when the signer, the roots or the names
differ from what lies there. Runs while this replica leads; what cannot be written now is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from meshca import metrics
from meshca.app.own_leaves import OwnLeaves
from meshca.app.serving_certificate import FLOOR
from meshca.authority import served
from meshca.authority.signing import Authority
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock, pause
from meshca.errors import MeshcaError
from meshca.kube.tls_secret import TlsMaterial
from meshca.log import log

RULE: Final = "istiod"
WASTED: Final = Backoff(floor=5.0, ceiling=300.0)  # after one that could not be written: each is recorded
LOOK_SECONDS: Final = 5.0  # between two looks at the Secret: a deleted or changed one is made anew


class Place(Protocol):
    """Where it lies; `kube.tls_secret.TlsSecret` is one."""

    name: str

    async def read(self) -> TlsMaterial | None:
        """What lies there now."""
        ...

    async def write(self, material: TlsMaterial) -> None:
        """Put this there, if nobody else did meanwhile."""
        ...


class IstiodCertificate:
    """Keeps it good, while `run` is running.

    Args:
        place: where it lies.
        authority: signs it.
        leaves: makes it.
        names: DNS names in it.
        lifetime: of each.
        fence: raises unless we may write.
        clock: for half lives and pauses.
        rng: the source of jitter.

    Attributes:
        not_after: when the one that lies there ends; None before we know.
        error: why it cannot be read or renewed; empty when it can.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        place: Place,
        authority: Authority,
        leaves: OwnLeaves,
        names: Sequence[str],
        lifetime: timedelta,
        fence: Callable[[], None],
        clock: Clock,
        rng: random.Random = JITTER,
    ) -> None:
        self.name = place.name
        self.not_after: datetime | None = None
        self.error = ""
        self._place = place
        self._authority = authority
        self._leaves = leaves
        self._names = names
        self._lifetime = lifetime
        self._fence = fence
        self._clock = clock
        self._rng = rng
        self._wasted = 0  # certificates in a row that were signed and could not be written
        self._signer_changed = asyncio.Event()
        self._made_at: float | None = None

    def signer_changed(self) -> None:
        """Look now: another signer is in force."""
        self._signer_changed.set()

    async def run(self) -> None:
        """Keep it good until cancelled; what is known of it is forgotten then, for another replica keeps it."""
        try:
            await self._keep()
        finally:
            self.not_after, self.error = None, ""

    async def _keep(self) -> None:
        while True:
            self._signer_changed.clear()
            try:
                await self._look()
            except MeshcaError as error:
                if error.detail != self.error:  # once for each cause
                    log.error("istiod.certificate_failed", reason=error.reason, detail=error.detail)
                self.error = error.detail
            else:
                self.error = ""
            await self._pause()

    async def _look(self) -> None:
        """Read it, and make another if that is due."""
        found = await self._place.read()
        why = self._due(found)
        if not why:
            return
        self._fence()
        key, issued = await self._leaves.make(self._names, self._lifetime)
        self._wasted += 1
        await self._place.write(TlsMaterial(chain="".join(issued.chain), key=key, roots=issued.roots))
        self._wasted = 0
        self._made_at, self.not_after = self._clock.monotonic(), issued.not_after
        metrics.expires("istiod", issued.not_after)
        log.info(
            "istiod.certificate_renewed",
            secret=self.name,
            serial=issued.serial,
            not_after=issued.not_after.isoformat(),
            why=why,
        )

    def _due(self, found: TlsMaterial | None) -> str:
        """Why another is to be made now; empty when none is."""
        if found is None:
            return "missing"
        slot = self._authority.current_serving()
        if why := served.fault(found.chain, found.key, found.roots, self._names, slot):
            return why
        begin, self.not_after = served.validity(found.chain)
        metrics.expires("istiod", self.not_after)
        floor = min(FLOOR, self._lifetime / 2).total_seconds()
        if self._made_at is not None and self._clock.monotonic() - self._made_at < floor:
            return ""  # below a signer that ends soon every certificate is near its end
        now = self._clock.now()
        if now < begin:
            return "it begins in the future"
        return "half of its life is over" if now >= begin + (self.not_after - begin) / 2 else ""

    async def _pause(self) -> None:
        """Until the next look, or another signer."""
        seconds = WASTED.pause(self._wasted, self._rng) if self._wasted else LOOK_SECONDS
        await pause(self._clock, seconds, self._signer_changed)
