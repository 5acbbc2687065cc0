"""What every ledger store does, SQLite, PostgreSQL and the fake alike."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshca.ledger.port import LedgerStore, SerialReused
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result
from tests.fakes.any_records import instants, intents, outcomes
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import NOW, failed, intent, issued
from tests.store.opening import opened
from tests.store.postgres.opening import fresh_url, opened_shared

SETTLING = intent(namespace="settling", intended_at=NOW - timedelta(days=10_000), not_after=NOW)
SHARED = pytest.param("postgresql", marks=pytest.mark.real("postgresql"))
KINDS = ["sqlite", SHARED, "fake"]


Find = Callable[[str], object]


@contextlib.asynccontextmanager
async def making(kind: str, folder: Path, clock: FakeClock, find: Find) -> AsyncIterator[LedgerStore]:
    """An empty store of one kind; `find` gives the real part that it is in."""
    if kind == "fake":
        yield FakeLedger(clock)
        return
    if kind == "postgresql":
        with fresh_url(find("postgresql")) as url:
            async with opened_shared(url, clock) as shared:
                yield shared.ledger
        return
    async with opened(folder, clock) as store:
        yield store.ledger


@pytest.fixture
def clock() -> FakeClock:
    """A clock at NOW."""
    return FakeClock(NOW)


@pytest.fixture(params=KINDS)
async def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, find_part: Find
) -> AsyncIterator[LedgerStore]:
    """An empty store of each kind."""
    async with making(request.param, tmp_path, clock, find_part) as store:
        yield store


async def settled(ledger: LedgerStore) -> None:
    """Return once outcomes queued before are written: a later intent shares their commit or follows it."""
    await ledger.intend(replace(SETTLING, serial=intent().serial))


async def test_what_was_intended_is_found(ledger: LedgerStore) -> None:
    """Every field comes back as it was given."""
    one = intent(parent_serial="ff", labels={"app": "web", "version": "v1"})
    await ledger.intend(one)
    assert await ledger.find(one.serial) == Issuance(intent=one)


async def test_an_unknown_serial_is_not_found(ledger: LedgerStore) -> None:
    """None, not an error."""
    assert await ledger.find("abc") is None


@pytest.mark.parametrize("make", [issued, failed])
async def test_an_outcome_joins_its_intent(ledger: LedgerStore, make: type) -> None:
    """Soon after it was given."""
    one = intent()
    await ledger.intend(one)
    outcome: Outcome = make(one)
    ledger.finish(outcome)
    await settled(ledger)
    assert await ledger.find(one.serial) == Issuance(intent=one, outcome=outcome)


async def test_the_first_outcome_counts(ledger: LedgerStore) -> None:
    """A record never changes."""
    one = intent()
    await ledger.intend(one)
    ledger.finish(issued(one))
    await settled(ledger)
    ledger.finish(failed(one))
    await settled(ledger)
    found = await ledger.find(one.serial)
    assert found == Issuance(intent=one, outcome=issued(one))


async def test_a_serial_is_recorded_once(ledger: LedgerStore) -> None:
    """The second intent is refused, the first stays."""
    one = intent()
    await ledger.intend(one)
    with pytest.raises(SerialReused) as caught:
        await ledger.intend(replace(one, namespace="other"))
    assert (caught.value.reason, caught.value.serial) == ("serial_reused", one.serial)
    assert await ledger.find(one.serial) == Issuance(intent=one)


async def test_a_reused_serial_does_not_harm_the_first(ledger: LedgerStore) -> None:
    """What becomes of the intent that has it is recorded."""
    one = intent()
    await ledger.intend(one)
    with pytest.raises(SerialReused):
        await ledger.intend(replace(one, namespace="other"))
    ledger.finish(issued(one))
    await settled(ledger)
    assert await ledger.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_a_serial_of_two_at_once(ledger: LedgerStore) -> None:
    """One of them is recorded, and what becomes of it; the other is refused."""
    one = intent()
    other = replace(one, namespace="other")
    answers = await asyncio.gather(*map(ledger.intend, (one, other)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), SerialReused]
    ledger.finish(issued(one))
    await settled(ledger)
    assert await ledger.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_a_reused_serial_does_not_harm_its_neighbours(ledger: LedgerStore) -> None:
    """Intents that share a commit stand and fall alone."""
    old = intent()
    await ledger.intend(old)
    fresh = [intent() for _ in range(3)]
    ledger.finish(issued(old))  # in the same commit
    answers = await asyncio.gather(*map(ledger.intend, [fresh[0], old, *fresh[1:]]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), SerialReused, type(None), type(None)]
    assert [await ledger.find(one.serial) for one in fresh] == [Issuance(intent=one) for one in fresh]


async def test_the_outcome_of_a_refused_intent_is_ignored(ledger: LedgerStore) -> None:
    """Nothing was recorded that it could belong to."""
    one = intent()
    ledger.finish(failed(one))
    await settled(ledger)
    await ledger.intend(one)
    assert await ledger.find(one.serial) == Issuance(intent=one)


async def test_records_come_newest_first(ledger: LedgerStore) -> None:
    """By time of intent, then by serial."""
    order = [(0, "1"), (1, "2"), (1, "3"), (2, "1a")]
    made = [intent(serial=serial, intended_at=NOW + timedelta(seconds=second)) for second, serial in order]
    for one in random.Random(4).sample(made, len(made)):
        await ledger.intend(one)
    assert [found.intent for found in await ledger.query(Query())] == made[::-1]


async def test_a_query_gives_at_most_its_limit(ledger: LedgerStore) -> None:
    """The newest of them."""
    made = [intent(intended_at=NOW + timedelta(seconds=second)) for second in range(5)]
    await asyncio.gather(*map(ledger.intend, made))
    assert [found.intent for found in await ledger.query(Query(limit=2))] == [made[4], made[3]]


async def test_a_live_leaf_says_whose_it_is(ledger: LedgerStore) -> None:
    """Every field of it is as its intent has it."""
    one = intent(parent_serial="ff", requested_by="istio-system/ztunnel")
    await ledger.intend(one)
    assert await ledger.live(NOW) == [
        LiveLeaf(
            serial=one.serial,
            spiffe_id=one.spiffe_id,
            pod_name="web-1",
            pod_uid="pod-uid-1",
            node_name="node-1",
            requested_by="istio-system/ztunnel",
            parent_serial="ff",
            signer="signer-1",
            issued_at=NOW,
            not_after=NOW + timedelta(hours=24),
        )
    ]


async def test_a_leaf_lives_until_it_has_ended(ledger: LedgerStore) -> None:
    """The instant at which it ends belongs to it."""
    end = NOW + timedelta(hours=1)
    one = intent(not_after=end)
    await ledger.intend(one)
    asked = [end - timedelta(microseconds=1), end, end + timedelta(microseconds=1)]
    assert [len(await ledger.live(now)) for now in asked] == [1, 1, 0]


async def test_a_leaf_whose_signing_failed_does_not_live(ledger: LedgerStore) -> None:
    """One that was issued does, and so does one of which it is not known: somebody may hold it."""
    good, bad, unknown = made = [intent(intended_at=NOW + timedelta(seconds=second)) for second in range(3)]
    for one in made:
        await ledger.intend(one)
    ledger.finish(issued(good))
    ledger.finish(failed(bad))
    await settled(ledger)
    found = [leaf.serial for leaf in await ledger.live(NOW + timedelta(hours=1))]
    assert found == [good.serial, unknown.serial]


async def test_live_leaves_come_oldest_first(ledger: LedgerStore) -> None:
    """By time of intent, then by serial; when they end does not matter."""
    order = [(0, "1"), (1, "2"), (1, "3"), (2, "1a")]
    made = [
        intent(
            serial=serial, intended_at=NOW + timedelta(seconds=second), not_after=NOW + timedelta(days=9 - second)
        )
        for second, serial in order
    ]
    for one in random.Random(4).sample(made, len(made)):
        await ledger.intend(one)
    assert [leaf.serial for leaf in await ledger.live(NOW)] == [one.serial for one in made]


async def test_our_own_leaves_live_too(ledger: LedgerStore) -> None:
    """They are of no workload; who reads them decides."""
    await ledger.intend(intent(spiffe_id="spiffe://cluster.local", namespace="", pod_name=""))
    assert [leaf.spiffe_id for leaf in await ledger.live(NOW)] == ["spiffe://cluster.local"]


async def test_old_records_of_ended_certificates_are_removed(ledger: LedgerStore, clock: FakeClock) -> None:
    """With their outcomes; how many is said."""
    old = [intent(intended_at=NOW, not_after=NOW + timedelta(hours=1)) for _ in range(3)]
    young = intent(intended_at=NOW + timedelta(days=1), not_after=NOW + timedelta(days=1, hours=1))
    for one in (*old, young):
        await ledger.intend(one)
        ledger.finish(issued(one))
    await settled(ledger)
    clock.move(timedelta(days=2).total_seconds())
    assert await ledger.prune(NOW + timedelta(days=1)) == len(old) + 1  # and the settling one
    assert await ledger.query(Query()) == [Issuance(intent=young, outcome=issued(young))]


async def test_a_record_whose_certificate_is_valid_is_never_removed(ledger: LedgerStore, clock: FakeClock) -> None:
    """Renewals need it, however old it is."""
    valid = intent(not_after=NOW + timedelta(days=90))
    await ledger.intend(valid)
    clock.move(timedelta(days=89).total_seconds())
    assert await ledger.prune(clock.now()) == 0
    assert await ledger.find(valid.serial) == Issuance(intent=valid)


async def test_removing_goes_on_past_records_that_stay(ledger: LedgerStore, clock: FakeClock) -> None:
    """However many there are of each."""
    ends = [NOW + timedelta(days=90 if number % 3 == 0 else 1) for number in range(1300)]
    made = [intent(not_after=end) for end in ends]
    await asyncio.gather(*map(ledger.intend, made))
    clock.move(timedelta(days=2).total_seconds())
    assert await ledger.prune(clock.now()) == sum(end == NOW + timedelta(days=1) for end in ends)
    assert await ledger.prune(clock.now()) == 0


few = st.sampled_from(["", "a", "b"])
small_intents = intents.flatmap(
    lambda one: st.builds(
        replace,
        st.just(one),
        namespace=few,
        pod_name=few,
        pod_uid=few,
        node_name=few,
        node_uid=few,
        issuer=few,
        spiffe_id=st.sampled_from(["spiffe://td/ns/a/sa/b", "spiffe://td/ns/b/sa/b", "none"]),
    )
)
queries = st.builds(
    Query,
    spiffe_id=st.none() | st.sampled_from(["spiffe://td/ns/a/sa/b", "none"]),
    namespace=st.none() | few,
    pod=st.none() | few,
    node=st.none() | few,
    issuer=st.none() | few,
    result=st.none() | st.sampled_from(Result),
    since=st.none() | instants.filter(lambda since: since < NOW),
    until=st.none() | instants.filter(lambda until: until >= NOW),
    limit=st.integers(1, 5),
)


def consistent(one: Intent) -> Intent:
    """With the namespace that its identity implies, as issuance makes it."""
    parts = one.spiffe_id.split("/")
    return replace(one, namespace=parts[4]) if len(parts) > 4 else one


@pytest.mark.parametrize("kind", KINDS[:2])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    made=st.lists(st.tuples(small_intents.map(consistent), st.none() | outcomes), max_size=8),
    asked=st.lists(queries, min_size=1, max_size=4),
)
async def test_a_database_answers_as_the_query_says(
    kind: str, find_part: Find, made: list[tuple[Intent, Outcome | None]], asked: list[Query]
) -> None:
    """A law: whatever is recorded and asked, both stores give the same answer."""
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock(NOW)
        fake = FakeLedger(clock)
        async with making(kind, Path(folder), clock, find_part) as database:
            for one, outcome in {one.serial: (one, outcome) for one, outcome in made}.values():
                for store in (fake, database):
                    await store.intend(one)
                    if outcome:
                        store.finish(replace(outcome, serial=one.serial))
            last = intent(intended_at=NOW - timedelta(days=20_000))  # outcomes before it are written
            await database.intend(last)
            await fake.intend(last)
            await database.prune(NOW)
            await fake.prune(NOW)
            for query in asked:
                assert await database.query(query) == await fake.query(query)
            for now in (NOW, *(one.not_after for one, _ in made)):
                assert await database.live(now) == await fake.live(now)
