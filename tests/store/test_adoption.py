"""What the adoption store adds to its port: few commits, ends of workers, forgetting."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.identity.spiffe_id import SpiffeId
from meshca.store import adoption as keeping
from meshca.store import connection as connecting
from meshca.store.adoption import GATHER_SECONDS
from meshca.store.connection import Use, begin, connect
from meshca.store.engine import Store
from tests.contract.test_adoption_store import adoption
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW
from tests.store.opening import opened

MANY = 500


@pytest.fixture
def clock() -> FakeClock:
    """A clock at NOW."""
    return FakeClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store."""
    async with opened(tmp_path, clock) as store:
        yield store


async def written(store: Store, clock: FakeClock) -> None:
    """Return once what was recorded is written."""
    await clock.advance(GATHER_SECONDS)
    await store.probe()


async def connected(store: Store) -> list[tuple[str, bool]]:
    """Which node is connected."""
    return [(one.node_id, one.connected) for one in await store.adoption.list()]


async def test_a_push_to_many_agents_is_one_commit(store: Store, clock: FakeClock) -> None:
    """However many acknowledge it, and however often."""
    before = store.commits
    for number in range(MANY):
        store.adoption.record(adoption(node_id=f"web-{number}"))
        store.adoption.record(adoption(node_id=f"web-{number}", adopted_version="v2"))
    await clock.advance(GATHER_SECONDS / 2)
    assert store.commits == before
    await written(store, clock)
    assert (len(await store.adoption.list()), store.commits - before) in {(MANY, 1), (MANY, 2)}  # 2: the probe's


async def test_streams_of_a_dead_worker_are_not_connected(store: Store, clock: FakeClock) -> None:
    """It could not say so itself."""
    store.adoption.record(adoption(node_id="a", worker="worker-0"))
    store.adoption.record(adoption(node_id="b", worker="worker-1"))
    await written(store, clock)
    await store.adoption.disconnect_worker("worker-0")
    assert await connected(store) == [("a", False), ("b", True)]


async def test_nobody_is_connected_when_the_server_starts(store: Store, clock: FakeClock) -> None:
    """Whatever an earlier server left behind."""
    store.adoption.record(adoption(node_id="a", worker="worker-0"))
    store.adoption.record(adoption(node_id="b", worker="worker-1"))
    await written(store, clock)
    await store.adoption.disconnect_everyone()
    assert await connected(store) == [("a", False), ("b", False)]


async def test_agents_that_are_gone_are_forgotten(store: Store, clock: FakeClock) -> None:
    """Connected ones never, however silent."""
    for node, seen, is_connected in [("old", 0, False), ("silent", 0, True), ("young", 2, False)]:
        seen_at = NOW + timedelta(days=seen)
        store.adoption.record(adoption(node_id=node, seen_at=seen_at, connected=is_connected))
    await written(store, clock)
    assert await store.adoption.forget(NOW + timedelta(days=1)) == 1
    assert [node for node, _ in await connected(store)] == ["silent", "young"]


async def test_what_cannot_be_written_is_kept(
    store: Store, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest word counts, also against what was kept."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    other_agent = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
    with contextlib.closing(connect(tmp_path / "meshca.db", Use.WRITE)) as other:
        begin(other)
        store.adoption.record(adoption())
        store.adoption.record(adoption(agent=other_agent, stream="9"))
        store.adoption.disconnected("worker-0", "9")
        with contextlib.suppress(Exception):
            await written(store, clock)
        later = adoption(adopted_version="v3", seen_at=NOW + timedelta(seconds=1))
        store.adoption.record(later)
        other.execute("COMMIT")
    await written(store, clock)
    await written(store, clock)
    assert await store.adoption.list() == [adoption(agent=other_agent, stream="9", connected=False), later]


async def test_closing_writes_what_waits(tmp_path: Path, clock: FakeClock) -> None:
    """Without waiting for company."""
    async with opened(tmp_path, clock) as store:
        store.adoption.record(adoption())
        store.adoption.disconnected("worker-0", "1")
    async with opened(tmp_path, clock) as store:
        assert await store.adoption.list() == [replace(adoption(), connected=False)]


async def test_closing_does_not_fail_when_nothing_can_be_written(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adoption is heard again from agents."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    async with opened(tmp_path, clock) as store:
        with contextlib.closing(connect(tmp_path / "meshca.db", Use.WRITE)) as other:
            begin(other)
            store.adoption.record(adoption())
            await store.adoption.close()


async def test_what_waits_is_bounded(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written, who waits longest is forgotten."""
    monkeypatch.setattr(keeping, "MAX_WAITING", 3)
    for number in range(5):
        store.adoption.record(adoption(node_id=f"{number}", stream=f"{number}"))
    for number in range(5):
        store.adoption.disconnected("worker-0", f"{number}")
    await written(store, clock)
    assert await connected(store) == [("2", False), ("3", False), ("4", False)]
