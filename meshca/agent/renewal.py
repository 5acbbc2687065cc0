"""Keeps a valid certificate in hand: renewal at half life or by order, tried again with pauses until it succeeds.

The old certificate stays in place until the new one is, and the new one waits until the Envoys have the roots.
There is one loop, so there is one request at a time; and every way round the loop waits at least the backoff's
floor, whatever clock or CA say.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import NoReturn, Protocol

from meshca.agent.issuer import Issuer, due
from meshca.agent.order import Orders
from meshca.agent.svid import Expected, Svid
from meshca.backoff import Pace
from meshca.clock import pause
from meshca.errors import MeshcaError
from meshca.log import log

HALF_LIFE = (0.45, 0.55)  # half life +- 10 %
HURRY_SPREAD = 3  # as if so many tries had failed: 1 to 8 s with the default backoff
LONGEST_NAP = 30.0  # seconds; wall time may jump (suspend, NTP) while steady time sleeps


class Holder(Protocol):
    """Who keeps the certificate."""

    @property
    def svid(self) -> Svid | None:
        """The certificate held now."""
        ...

    def take_svid(self, svid: Svid) -> None:
        """Replace it."""
        ...

    def renewal_failed(self, error: MeshcaError) -> None:
        """Remember why there is no newer one."""
        ...


class Renewal:
    """The loop that renews.

    Args:
        issuer: makes one try.
        holder: keeps what came of it.
        expected: whom certificates must name; the first one pins the identity.
        pace: jitter, and pauses between tries.
        orders: say when the certificate is to be replaced before its time, and whether the Envoys have the roots.
    """

    def __init__(self, issuer: Issuer, holder: Holder, expected: Expected, pace: Pace, orders: Orders) -> None:
        self._issuer = issuer
        self._holder = holder
        self._expected = expected
        self._clock = pace.clock
        self._pace = pace
        self._orders = orders
        self._hurried = asyncio.Event()
        self._news = asyncio.Event()
        self._anew = False

    def hurry(self) -> None:
        """Renew soon: the certificate in hand is of no use any more."""
        self._hurried.set()
        self._news.set()

    def look(self) -> None:
        """An order has come, or an Envoy has answered: see whether anything is due."""
        self._news.set()

    def prove_anew(self) -> None:
        """Renew soon, by the token: the CA does not take the certificate in hand as a proof any more."""
        self._anew = True
        self.hurry()

    async def run(self) -> NoReturn:
        """Renew for ever; raises only what nobody expected."""
        while True:
            await self._until_due()
            await self._renew()
            await self._clock.sleep(self._pace.backoff.floor)

    async def _until_due(self) -> None:
        held = self._holder.svid
        if held is None:
            return
        moment = due(held, self._pace.rng.uniform(*HALF_LIFE))
        while not self._hurried.is_set():
            self._news.clear()
            left = min(self._left(held, moment), self._orders.left(held))
            if left <= 0:
                return
            await pause(self._clock, min(left, LONGEST_NAP), self._news)
        # Hurried: pushed to a whole fleet at once, so not all in the same instant.
        await self._clock.sleep(self._pace.backoff.pause(HURRY_SPREAD, self._pace.rng))

    def _left(self, held: Svid, moment: datetime) -> float:
        """Seconds until this moment; none when what is held is not valid now, whatever way the clock jumped."""
        now = self._clock.now()
        return (moment - now).total_seconds() if held.valid(now) else 0.0

    async def _renew(self) -> None:
        failures = 0
        while True:
            self._hurried.clear()
            anew = self._anew
            try:
                svid = await self._issuer.issue(self._proof(), self._expected)
            except MeshcaError as error:
                failures += 1
                await self._wait_after(error, failures)
                continue
            self._expected = replace(self._expected, identity=svid.identity)
            self._anew = self._anew and not anew  # asked for meanwhile: what came now descends from the old proof
            await self._roots_first()
            self._orders.came(svid)
            self._holder.take_svid(svid)
            return

    async def _roots_first(self) -> None:
        """Let Envoys answer to newer roots before they get what may lead to those, unless nothing good is held."""
        began = self._clock.monotonic()
        while (held := self._holder.svid) is not None and held.valid(self._clock.now()):
            self._news.clear()
            left = began + LONGEST_NAP - self._clock.monotonic()
            if self._orders.roots_answered or left <= 0:
                return
            await pause(self._clock, left, self._news)

    def _proof(self) -> Svid | None:
        """The certificate to ask with, None for the token alone.

        Past half life a refused certificate is shown too: it may still buy another, and the token may stay bad.
        """
        held = self._holder.svid
        if held is None or (self._anew and self._clock.now() < due(held, HALF_LIFE[1])):
            return None
        return held

    async def _wait_after(self, error: MeshcaError, failures: int) -> None:
        pause = self._pace.after(error, failures)
        held = self._holder.svid
        left = (held.not_after - self._clock.now()).total_seconds() if held else 0.0
        log.warning(
            "certificate.renewal_failed",
            reason=error.reason,
            detail=error.detail,
            failures=failures,
            next_try_in_s=round(pause, 1),
            certificate_left_s=round(max(0.0, left)),
        )
        self._holder.renewal_failed(error)
        await self._clock.sleep(pause)
