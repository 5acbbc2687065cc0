"""Ten thousand agents that are ordered to renew: the real pacing, quota and default limits, on a fake clock.

The agents' loops, draws, pauses and retries are the real ones; instead of asking a CA they charge its quota.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from meshca.agent.issuer import Issuer
from meshca.agent.order import Orders
from meshca.agent.renewal import Renewal
from meshca.agent.svid import Expected, Svid
from meshca.backoff import Pace
from meshca.config.server import LimitsConfig
from meshca.discovery.order import RenewalOrder
from meshca.errors import Exhausted, MeshcaError
from meshca.identity.spiffe_id import SpiffeId
from meshca.quota import Quota, Rate
from tests.fakes.agent_values import NOW, fake_ca, svid_of
from tests.fakes.crowd_clock import CrowdClock
from tests.fakes.logs import captured_logs

AGENTS = 10_000
ACCOUNTS = 50  # in one namespace, each with 200 pods
WORKERS = 2
AT_ONCE = 3_000
BURST = 2_000  # of a namespace, by default
WINDOW = 300
HEARD_WITHIN = 20  # tenths of a second until the last agent has heard: replicas follow within one second
OLD, NEW = frozenset({"aa" * 32}), frozenset({"bb" * 32})
SVID = replace(svid_of(fake_ca()), signers=OLD)


class Server:
    """Counts what is issued in each second, and what is refused."""

    def __init__(self, clock: CrowdClock) -> None:
        self.clock = clock
        self.issued: Counter[int] = Counter()
        self.refused = 0
        limits = LimitsConfig()
        identity, namespace = (
            Rate(per_second=bucket.rate, burst=bucket.burst).share(WORKERS)
            for bucket in (limits.per_identity, limits.per_namespace)
        )
        self.workers = [Quota(per_identity=identity, per_namespace=namespace) for _ in range(WORKERS)]

    def charge(self, number: int) -> None:
        """A renewal of the agent with this number, at the worker that its connection is with."""
        identity = SpiffeId.parse(f"spiffe://cluster.local/ns/shop/sa/app-{number % ACCOUNTS}")
        now = self.clock.monotonic()
        try:
            self.workers[number // ACCOUNTS % WORKERS].take(identity, now, renewal=True)
        except Exhausted:
            self.refused += 1
            raise
        self.issued[int(now)] += 1


class Agent:
    """Holds a certificate, and renews it by the real loop."""

    def __init__(self, number: int, server: Server) -> None:
        self._number = number
        self._server = server
        pace = Pace(clock=server.clock, rng=random.Random(number))
        self.svid: Svid | None = SVID
        self.orders = Orders(pace)
        self.renewal = Renewal(cast("Issuer", self), self, Expected(), pace, self.orders)

    async def issue(self, held: Svid | None, expected: Expected) -> Svid:
        """In place of the issuer."""
        del held, expected
        self._server.charge(self._number)
        return replace(SVID, signers=NEW, received_at=self._server.clock.now())

    def take_svid(self, svid: Svid) -> None:
        """As a holder."""
        self.svid = svid

    def renewal_failed(self, error: MeshcaError) -> None:
        """As a holder."""


class Fleet:
    """Agents that run."""

    def __init__(self, size: int) -> None:
        self.clock = CrowdClock(NOW)
        self.server = Server(self.clock)
        self.agents = [Agent(number, self.server) for number in range(size)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Fleet]:
        """Let every loop run."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(agent.renewal.run()) for agent in self.agents]
        await self.clock.advance(0)
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def order(self, window: float) -> None:
        """Order now; the agents hear of it one after the other."""
        order = RenewalOrder(signers=OLD, begun_at=self.clock.now(), window=timedelta(seconds=window))
        heard: dict[int, list[Agent]] = {}
        rng = random.Random(7)
        for agent in self.agents:
            heard.setdefault(rng.randrange(HEARD_WITHIN), []).append(agent)
        for tenth in range(HEARD_WITHIN):
            for agent in heard.get(tenth, ()):
                agent.orders.take(order)
                agent.renewal.look()
            await self.clock.advance(0.1)

    @property
    def left(self) -> int:
        """Agents that still hold the old certificate."""
        return sum(agent.svid is SVID for agent in self.agents)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Ten thousand agents have much to say."""
    with captured_logs():
        yield


async def test_ten_thousand_agents_are_replaced_within_the_window_without_a_peak() -> None:
    """No second has more than twice the mean rate; nobody is refused, and nobody is late."""
    async with Fleet(AGENTS).running() as fleet:
        await fleet.order(WINDOW)
        await fleet.clock.advance(WINDOW - HEARD_WITHIN / 10)
        server = fleet.server
        assert (fleet.left, server.refused) == (0, 0)
        assert sum(server.issued.values()) == AGENTS
        assert max(server.issued.values()) <= 2 * AGENTS / WINDOW


async def test_at_once_is_as_fast_as_the_limits_allow() -> None:
    """Without a window a whole namespace comes at once: a burst is served, and who is refused comes back.

    By the default limits 2,000 at once and 200 in each second after: 10,000 agents were done in 85 s.
    """
    async with Fleet(AT_ONCE).running() as fleet:
        await fleet.order(0)
        assert fleet.left <= AT_ONCE - BURST
        assert fleet.server.refused > 0
        await fleet.clock.advance(60)
        assert fleet.left == 0
