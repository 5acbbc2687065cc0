"""The driver that keeps a proven signing certificate in force: ask, prove, publish, wait, again.

For now it moves only the signing certificate: a changed set of roots is refused, because clients that do not
know a new root would refuse everything below it. Whatever goes wrong, the last good material stays in force;
the error is kept to be shown and the attempt repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from meshca.authority.material import SigningMaterial
from meshca.authority.slot import Slot
from meshca.authority.upstream import Upstream
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Unavailable
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.validity import begun

BACKOFF = Backoff(floor=1.0, ceiling=60.0)  # between attempts after one that failed
# One sleep at most, so that a clock that was set right or a machine that slept delays a renewal by no more.
LONGEST_SLEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How rotation stands, for `/readyz`, metrics and `meshca status`.

    Attributes:
        slot: what was published last; None before the first.
        published: how many signing certificates were put in force.
        failures: how many attempts failed, ever.
        failing: how many failed since the last that succeeded.
        error: why the last attempt failed; None when it succeeded.
    """

    slot: Slot | None = None
    published: int = 0
    failures: int = 0
    failing: int = 0
    error: MeshcaError | None = None


class Rotation:
    """Drives one upstream.

    Args:
        upstream: gives signing material.
        clock: for half lives and pauses.
        trust_domain: that is signed for.
        publish: puts proven material in force everywhere; raises a `MeshcaError` when it cannot.
        rng: the source of jitter.
    """

    def __init__(
        self,
        upstream: Upstream,
        clock: Clock,
        trust_domain: TrustDomain,
        publish: Callable[[SigningMaterial], Awaitable[None]],
        rng: random.Random = JITTER,
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._trust_domain = trust_domain
        self._publish = publish
        self._rng = rng
        self._fingerprint = ""
        self._renew_at: datetime | None = None
        self.progress = Progress()

    async def start(self) -> None:
        """Put the first material in force; what is not available is waited for, and `progress` says why.

        Raises:
            ConfigError: it cannot be used; nothing was published.
        """
        while self.progress.slot is None:
            try:
                await self._attempt()
            except Unavailable as error:
                self._failed(error)
                await self._wait()

    async def run(self) -> None:
        """Keep good material in force until cancelled.

        Raises:
            Exception: what an upstream must not raise, once it is kept to be shown; run it again.
        """
        while True:
            try:
                if await self._wait() or self.progress.failing or self._due():
                    await self._attempt()
            except MeshcaError as error:
                self._failed(error)
            except Exception as error:
                self._failed(InvariantBroken("upstream", f"unexpected {type(error).__name__}; see the log"))
                raise

    async def _attempt(self) -> None:
        offer = await self._upstream.obtain()
        material = offer.material
        if material.fingerprint != self._fingerprint:
            slot = Slot.prove(material, self._trust_domain, self._clock.now())
            self._check_roots(material)
            await self._publish(material)
            self._fingerprint = material.fingerprint
            self.progress = replace(self.progress, slot=slot, published=self.progress.published + 1)
            log.info("signer.published", signer=slot.issuer.signer_id, not_after=slot.issuer.not_after.isoformat())
        self._renew_at = offer.renew_at
        self.progress = replace(self.progress, failing=0, error=None)

    def _check_roots(self, material: SigningMaterial) -> None:
        in_force = self.progress.slot
        if in_force is not None and material.root_set != in_force.root_set:
            problem = (
                "the set of roots differs from the one in force, which goes on; changing roots while the server"
                " runs is not supported yet: put the old roots back, or restart the server to begin with the new"
            )
            raise ConfigError("roots", [problem])

    def _failed(self, error: MeshcaError) -> None:
        before = self.progress
        self.progress = replace(
            before,
            failures=before.failures + 1,
            failing=before.failing + 1,
            error=error,
        )
        if before.error is None or str(before.error) != str(error):  # once for each cause, not for each attempt
            log.error("signer.refused", reason=error.reason, detail=error.detail)

    async def _wait(self) -> bool:
        """Wait for a change, a half life or the end of a pause; whether it was a change."""
        changed = asyncio.ensure_future(self._upstream.changed())
        slept = asyncio.ensure_future(self._clock.sleep(self._pause()))
        try:
            done, _ = await asyncio.wait((changed, slept), return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
            return changed in done
        finally:
            changed.cancel()
            slept.cancel()
            await asyncio.gather(changed, slept, return_exceptions=True)

    def _pause(self) -> float:
        """Seconds to sleep at most."""
        if self.progress.failing:
            return BACKOFF.pause(self.progress.failing, self._rng)
        if self._renew_at is None:
            return LONGEST_SLEEP_SECONDS
        left = (self._renew_at - self._clock.now()).total_seconds()
        return min(max(left, 0.0), LONGEST_SLEEP_SECONDS)

    def _due(self) -> bool:
        """Whether the upstream's time has come, or a clock was set back to before what is in force begins."""
        now, slot = self._clock.now(), self.progress.slot
        if slot is not None and not begun(slot.issuer.not_before, now):
            return True
        return self._renew_at is not None and now >= self._renew_at
