"""Replicas share what agents have adopted, and none speaks for another's streams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from meshca.errors import Unavailable
from meshca.store.postgres.adoption import SILENCE
from meshca.store.postgres.engine import PostgresStore
from meshca.store.sharing import Sharing
from tests.contract.test_adoption_store import WEB, adoption
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW
from tests.real.postgresql import Cluster
from tests.store.postgres.opening import fresh_database, opened_shared, written

pytestmark = pytest.mark.real("postgresql")


@dataclass(slots=True)
class Subject:
    """Two replicas on one database."""

    cluster: Cluster
    database: str
    clock: FakeClock
    one: PostgresStore
    two: PostgresStore

    async def record(self, store: PostgresStore, node: str, **changes: object) -> None:
        """An agent says something to a replica."""
        store.adoption.record(adoption(node_id=node, **changes))
        await written(store, self.clock)

    async def connected(self, store: PostgresStore) -> dict[str, bool]:
        """Which agent is connected, as a replica sees it."""
        return {one.node_id: one.connected for one in await store.adoption.list()}


@pytest.fixture
async def subject(postgresql: Cluster) -> AsyncIterator[Subject]:
    """Both hear one agent each, through workers of the same name."""
    clock = FakeClock(NOW)
    async with contextlib.AsyncExitStack() as stack:
        database = stack.enter_context(fresh_database(postgresql))
        url = postgresql.url(database)
        one = await stack.enter_async_context(opened_shared(url, clock, Sharing(replica="one")))
        two = await stack.enter_async_context(opened_shared(url, clock, Sharing(replica="two")))
        made = Subject(postgresql, database, clock, one, two)
        await made.record(one, "a")
        await made.record(two, "b")
        yield made


async def test_each_knows_the_others_streams(subject: Subject) -> None:
    """And tells its own workers from theirs."""
    assert [(one.node_id, one.worker) for one in await subject.one.adoption.list()] == [
        ("a", "worker-0"),
        ("b", "two/worker-0"),
    ]
    assert await subject.connected(subject.two) == {"a": True, "b": True}


async def test_a_replica_that_starts_ends_its_own_streams_only(subject: Subject) -> None:
    """Those of the others are open."""
    await subject.one.adoption.disconnect_everyone()
    assert await subject.connected(subject.two) == {"a": False, "b": True}


async def test_a_worker_that_ends_is_this_replicas(subject: Subject) -> None:
    """Whatever the others' workers are called."""
    await subject.two.adoption.disconnect_worker("worker-0")
    assert await subject.connected(subject.one) == {"a": True, "b": False}


async def test_a_stream_that_ends_is_this_replicas(subject: Subject) -> None:
    """Whatever the others' streams are called."""
    subject.two.adoption.disconnected("worker-0", "1")
    await written(subject.two, subject.clock)
    assert await subject.connected(subject.one) == {"a": True, "b": False}


async def test_streams_of_a_replica_that_is_not_heard_have_ended(subject: Subject) -> None:
    """It died, or is cut off, and cannot say so; when it is heard again they are open again."""
    subject.clock.move(SILENCE.total_seconds() + 1)
    await subject.one.probe()
    assert await subject.connected(subject.one) == {"a": True, "b": False}
    await subject.two.probe()
    assert await subject.connected(subject.one) == {"a": True, "b": True}


async def test_who_left_a_replica_that_is_not_heard_is_there_once(subject: Subject) -> None:
    """Nobody says that the stream there has ended: both count until the replica was silent for long enough."""
    await subject.record(subject.one, "moves", stream="1")
    await subject.record(subject.two, "moves", stream="2", seen_at=NOW + timedelta(seconds=1))
    assert [one.stream for one in await subject.two.adoption.list() if one.node_id == "moves"] == ["1", "2"]
    subject.clock.move(SILENCE.total_seconds() + 1)
    await subject.two.probe()
    assert [one.stream for one in await subject.two.adoption.list() if one.node_id == "moves"] == ["2"]


async def test_who_was_not_heard_for_long_is_forgotten(subject: Subject) -> None:
    """Once it is not connected; how many is said."""
    await subject.one.adoption.disconnect_everyone()
    assert await subject.two.adoption.forget(NOW + timedelta(days=1)) == 1
    assert await subject.connected(subject.one) == {"b": True}


async def test_agents_of_a_replica_that_is_gone_are_forgotten(subject: Subject) -> None:
    """Nobody will ever say that their streams have ended."""
    subject.clock.move(SILENCE.total_seconds() + 1)
    await subject.one.probe()
    assert await subject.one.adoption.forget(NOW + timedelta(days=1)) == 1
    assert await subject.connected(subject.one) == {"a": True}


async def test_a_nul_in_what_an_agent_says_is_kept(subject: Subject) -> None:
    """It writes what it likes."""
    await subject.record(subject.one, "c\0", error="bad\0", stream="s\0")
    found = {one.node_id: one for one in await subject.two.adoption.list()}
    assert (found["c\0"].error, found["c\0"].agent) == ("bad\0", WEB)


async def test_what_waits_while_the_store_is_away_is_written_later(subject: Subject) -> None:
    """Agents need not say it again."""
    subject.cluster.execute("ALTER TABLE adoption RENAME TO hidden", database=subject.database)
    subject.one.adoption.record(adoption(node_id="c"))
    await subject.clock.advance(0.2)
    with pytest.raises(Unavailable):
        await subject.one.adoption.list()
    subject.cluster.execute("ALTER TABLE hidden RENAME TO adoption", database=subject.database)
    await written(subject.one, subject.clock)
    await subject.one.adoption.close()
    assert "c" in await subject.connected(subject.two)
