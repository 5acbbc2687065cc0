"""What a token's streams hold: made once, renewed at half life, dropped a while after the last stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from meshca.config.resource_names import DEFAULT, EXTENSION_TYPE_URL, ORDER_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery import resources
from meshca.discovery.event import Resource
from meshca.discovery.order import NO_ORDER, RenewalOrder
from meshca.discovery.resources import KeyPair
from meshca.discovery.source import Shelf
from meshca.errors import Unavailable
from meshca.identity.spiffe_id import SpiffeId
from meshca.rpc.server_keys import BACKOFF, JITTER, LINGER, Holding
from meshca.secret import Secret
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

IDENTITY = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
LIFE = timedelta(hours=24)
OLD, NEW = "aa" * 32, "bb" * 32
LATEST_HALF = LIFE.total_seconds() / 2 * (1 + JITTER)


class Bench:
    """A holding with a maker that a test controls."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.delivered = Shelf()
        self.made = 0
        self.failing: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.broken: list[BaseException] = []
        self.woken = 0
        self.signer = OLD
        self.order = NO_ORDER
        self.holding = Holding(
            IDENTITY, self.delivered, self.make, self.clock, self.broken.append, order=lambda: self.order
        )

    async def make(self) -> KeyPair:
        """The next pair, or the failure."""
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            raise self.failing
        self.made += 1
        now = self.clock.now()
        return KeyPair(
            serial=f"{self.made:x}",
            chain=f"chain {self.made}",
            key=Secret("key"),
            not_before=now,
            not_after=now + LIFE,
            signers=frozenset({self.signer}),
        )

    def have_replaced(self, signer: str, window: timedelta) -> None:
        """Order it, as `Delivery` does: the subscribers are woken."""
        self.order = RenewalOrder(signers=frozenset({signer}), begun_at=self.clock.now(), window=window)
        self.delivered.put(ORDER_TYPE_URL, [resources.order(self.order)])

    def wake(self) -> None:
        """Count."""
        self.woken += 1

    def chain(self) -> bytes:
        """The certificate that is served."""
        return self.holding.resources(SECRET_TYPE_URL)[DEFAULT].body


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A holding that one stream watches."""
    bench = Bench()
    leave = bench.holding.watch(bench.wake)
    yield bench
    leave()
    await bench.clock.advance(LINGER)
    assert len(asyncio.all_tasks()) == 1, "renewal outlived its streams"


async def test_pair_has_two_names(bench: Bench) -> None:
    """`default` and the SPIFFE ID."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    held = bench.holding.resources(SECRET_TYPE_URL)
    assert set(held) == {DEFAULT, str(IDENTITY)}
    assert b"chain 1" in held[DEFAULT].body


@pytest.mark.parametrize("names", [[DEFAULT], [str(IDENTITY)], [ROOTCA, DEFAULT]])
async def test_own_names_cause_an_issuance(bench: Bench, names: list[str]) -> None:
    """By either name."""
    await bench.holding.ready(SECRET_TYPE_URL, names)
    assert bench.made == 1


@pytest.mark.parametrize(
    ("type_url", "names"),
    [(SECRET_TYPE_URL, [ROOTCA, "spiffe://cluster.local", "unknown"]), (EXTENSION_TYPE_URL, [DEFAULT])],
)
async def test_other_names_do_not(bench: Bench, type_url: str, names: list[str]) -> None:
    """Roots, policies and unknown names are not signed for."""
    await bench.holding.ready(type_url, names)
    assert bench.made == 0


async def test_several_streams_cause_one_issuance(bench: Bench) -> None:
    """At once and later."""
    bench.gate = asyncio.Event()
    asking = [asyncio.create_task(bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])) for _ in range(5)]
    await asyncio.sleep(0)
    bench.gate.set()
    await asyncio.gather(*asking)
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    assert bench.made == 1


async def test_failure_of_the_first_is_the_streams(bench: Bench) -> None:
    """The stream ends with it; the next one tries again."""
    bench.failing = Unavailable("no_signer", "")
    with pytest.raises(Unavailable):
        await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.failing = None
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    assert bench.made == 1


async def test_renewed_at_half_life(bench: Bench) -> None:
    """Give or take the jitter; the watchers are woken once for each pair."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    await bench.clock.advance(LIFE.total_seconds() / 2 * (1 - JITTER) - 1)
    assert (bench.made, bench.woken) == (1, 1)
    await bench.clock.advance(LIFE.total_seconds() * JITTER + 2)
    assert (bench.made, bench.woken) == (2, 2)
    assert b"chain 2" in bench.chain()
    await bench.clock.advance(LATEST_HALF)
    assert bench.made == 3


async def test_failed_renewal_keeps_the_old_pair(bench: Bench) -> None:
    """And tries again, never more often than each second and at least once a minute."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.failing = Unavailable("store", "")
    with captured_logs() as logs:
        await bench.clock.advance(LATEST_HALF + 600)
    tries = [entry for entry in logs if entry["event"] == "sds.renewal_failed"]
    assert 600 / BACKOFF.ceiling <= len(tries) <= 1 + 600 + LIFE.total_seconds() * JITTER
    assert b"chain 1" in bench.chain()
    bench.failing = None
    await bench.clock.advance(BACKOFF.ceiling)
    assert b"chain 2" in bench.chain()


async def test_unforeseen_failure_is_reported(bench: Bench) -> None:
    """A defect of ours is not retried in silence."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.failing = RuntimeError("a defect")
    await bench.clock.advance(LATEST_HALF)
    assert bench.broken == [bench.failing]
    assert bench.holding.keyless


async def test_replaced_by_order_within_the_window(bench: Bench) -> None:
    """Once, long before half life, and below the new signer."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.signer = NEW
    bench.have_replaced(OLD, timedelta(minutes=5))
    await bench.clock.advance(300)
    assert b"chain 2" in bench.chain()
    await bench.clock.advance(3600)
    assert bench.made == 2


async def test_replaced_at_once_without_a_window(bench: Bench) -> None:
    """As soon as the order is heard."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.signer = NEW
    bench.have_replaced(OLD, timedelta(0))
    await bench.clock.advance(0)
    assert b"chain 2" in bench.chain()


async def test_an_order_for_other_signers_replaces_nothing(bench: Bench) -> None:
    """Half life comes as ever."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.have_replaced(NEW, timedelta(0))
    await bench.clock.advance(LIFE.total_seconds() / 2 * (1 - JITTER) - 1)
    assert bench.made == 1
    await bench.clock.advance(LIFE.total_seconds() * JITTER + 2)
    assert bench.made == 2


async def test_replaced_again_while_the_signer_is_the_old_one(bench: Bench) -> None:
    """With pauses that grow: this worker was told of the order before it was told of the new signer."""
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    bench.have_replaced(OLD, timedelta(0))
    with captured_logs() as logs:
        await bench.clock.advance(300)
    assert 6 <= bench.made <= 40
    assert {line["event"] for line in logs} == {"sds.still_ordered"}
    bench.signer = NEW
    await bench.clock.advance(BACKOFF.ceiling + 1)
    made = bench.made
    await bench.clock.advance(3600)
    assert bench.made == made


async def test_an_order_is_heard_by_who_comes_back() -> None:
    """A key that waits for its streams is replaced once one of them is there."""
    bench = Bench()
    leave = bench.holding.watch(bench.wake)
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    leave()
    bench.signer = NEW
    bench.have_replaced(OLD, timedelta(0))
    leave = bench.holding.watch(bench.wake)
    await bench.clock.advance(0)
    assert b"chain 2" in bench.chain()
    leave()
    await bench.clock.advance(LINGER)


async def test_delivered_resources_are_served_beside_it(bench: Bench) -> None:
    """Roots and policies, from the first moment, and their changes wake."""
    bench.delivered.put(SECRET_TYPE_URL, [Resource(name=ROOTCA, version="r1", body=b"roots")])
    bench.delivered.put(EXTENSION_TYPE_URL, [Resource(name="meshca-authz", version="p1", body=b"policies")])
    assert set(bench.holding.resources(SECRET_TYPE_URL)) == {ROOTCA}
    assert set(bench.holding.resources(EXTENSION_TYPE_URL)) == {"meshca-authz"}
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    assert set(bench.holding.resources(SECRET_TYPE_URL)) == {ROOTCA, DEFAULT, str(IDENTITY)}
    assert bench.woken == 3


async def test_key_is_dropped_after_the_last_stream() -> None:
    """A while after, and not after the one before; a later stream gets another key."""
    bench = Bench()
    first, second = bench.holding.watch(bench.wake), bench.holding.watch(bench.wake)
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    first()
    assert DEFAULT in bench.holding.resources(SECRET_TYPE_URL)
    second()
    await bench.clock.advance(LINGER - 1)
    assert bench.holding.idle
    assert DEFAULT in bench.holding.resources(SECRET_TYPE_URL)
    await bench.clock.advance(1)
    assert DEFAULT not in bench.holding.resources(SECRET_TYPE_URL)
    assert len(asyncio.all_tasks()) == 1
    third = bench.holding.watch(bench.wake)
    await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
    assert b"chain 2" in bench.chain()
    third()
    await bench.clock.advance(LINGER)


async def test_key_is_found_again_by_who_comes_back() -> None:
    """However often, and its time begins anew; it is renewed at its half life all the same."""
    bench = Bench()
    for _ in range(3):
        leave = bench.holding.watch(bench.wake)
        await bench.holding.ready(SECRET_TYPE_URL, [DEFAULT])
        assert b"chain 1" in bench.chain()
        leave()
        await bench.clock.advance(LINGER - 1)
    leave = bench.holding.watch(bench.wake)
    await bench.clock.advance(LATEST_HALF)
    assert b"chain 2" in bench.chain()
    leave()
    await bench.clock.advance(LINGER)
    assert bench.holding.keyless


async def test_streams_that_made_no_key_leave_nothing() -> None:
    """Such as those of roots."""
    bench = Bench()
    bench.holding.watch(bench.wake)()
    assert len(asyncio.all_tasks()) == 1
