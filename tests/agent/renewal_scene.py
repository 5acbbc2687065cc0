"""A running renewal between a CA and a shelf; a test moves the clock and lets the CA give orders."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from meshca.agent.chain import fingerprint
from meshca.agent.envoys import InForce, Verdict
from meshca.agent.order import Orders
from meshca.agent.renewal import Renewal
from meshca.agent.svid import Expected, Svid
from meshca.backoff import Pace
from meshca.discovery.order import RenewalOrder
from meshca.errors import MeshcaError
from tests.agent.test_issuer import NOW, World
from tests.fakes.ca import Pair, authority


class Shelf:
    """Keeps what it is given, as `Holding` does."""

    def __init__(self) -> None:
        self.taken: list[Svid] = []
        self.errors: list[str] = []

    @property
    def svid(self) -> Svid | None:
        """The newest."""
        return self.taken[-1] if self.taken else None

    def take_svid(self, svid: Svid) -> None:
        """Keep."""
        self.taken.append(svid)

    def renewal_failed(self, error: MeshcaError) -> None:
        """Keep."""
        self.errors.append(error.reason)


class Scene(World):
    """A CA, a shelf and a running renewal."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.shelf = Shelf()
        pace = Pace(clock=self.clock, rng=random.Random(seed))
        self.roots: Verdict = InForce(grade="envoy")
        self.orders = Orders(pace, lambda: self.roots)
        self.renewal = Renewal(self.issuer, self.shelf, Expected(), pace, self.orders)
        self.tries: list[float] = []

    def order(self, window: float, *, begun_at: datetime | None = None) -> None:
        """The CA turns to another signer and orders what the old one signed replaced."""
        old = certificate_id(self.ca.signer)
        self.sign_anew()
        self.say(old, window, begun_at=begun_at)

    def sign_anew(self) -> None:
        """Another signer below the same root."""
        begin, end = NOW - timedelta(days=1), NOW + timedelta(days=365)
        self.ca.signer = authority("signer anew", begin, end, self.ca.root)

    def say(self, signer: str, window: float, *, begun_at: datetime | None = None) -> None:
        """An order is pushed."""
        self.orders.take(
            RenewalOrder(
                signers=frozenset({signer}),
                begun_at=begun_at or self.clock.now(),
                window=timedelta(seconds=window),
            )
        )
        self.renewal.look()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        """Let the loop run."""
        task = asyncio.create_task(self.renewal.run())
        await self.pass_time(0)
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        end = self.clock.monotonic() + seconds
        while True:
            await self._quiet()
            if self.clock.monotonic() >= end:
                return
            await self.clock.advance(min(1.0, end - self.clock.monotonic()))

    async def _quiet(self) -> None:
        """Until the loop sleeps on the clock again, or hangs in the CA."""
        for _ in range(2000):
            asked = len(self.ca.asked)
            await self.clock.advance(0)
            if self.clock.sleepers and asked == len(self.ca.asked):
                return
            await asyncio.sleep(0.001)
        raise AssertionError("the renewal neither sleeps nor asks")


def certificate_id(pair: Pair) -> str:
    """What an order calls a signer."""
    return fingerprint(pair.certificate)
