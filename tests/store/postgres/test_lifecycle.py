"""What PostgreSQL adds: replicas hear of each other's commits, and none overwrites another's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshca.clock import SystemClock
from meshca.errors import Conflict
from meshca.store.postgres import lifecycle as subject
from meshca.store.postgres.engine import PostgresStore
from meshca.store.sharing import Sharing
from tests.fakes.clock import FakeClock
from tests.fakes.generations import changes_of, generation
from tests.real.postgresql import Cluster
from tests.store.postgres.opening import fresh_database, opened_shared

pytestmark = pytest.mark.real("postgresql")
REPLICAS = 3


@pytest.fixture
async def replicas(postgresql: Cluster) -> AsyncIterator[list[PostgresStore]]:
    """Some on one database; no clock of theirs ever moves, so that nobody looks without being told."""
    async with contextlib.AsyncExitStack() as stack:
        url = postgresql.url(stack.enter_context(fresh_database(postgresql)))
        yield [
            await stack.enter_async_context(opened_shared(url, FakeClock(), Sharing(replica=f"r{number}")))
            for number in range(REPLICAS)
        ]


async def test_every_replica_hears_of_a_commit(replicas: list[PostgresStore]) -> None:
    """By the server's word alone: nothing polls here."""
    for number in (1, 2):
        waiting = [asyncio.ensure_future(one.lifecycle.changed(number - 1)) for one in replicas]
        await replicas[0].lifecycle.commit(generation(number), changes_of(number))
        await asyncio.gather(*waiting)


async def test_of_replicas_that_commit_at_once_one_wins(replicas: list[PostgresStore]) -> None:
    """The first generation and a later one alike."""
    for number in (1, 2, 3):
        commits = (one.lifecycle.commit(generation(number), changes_of(number)) for one in replicas)
        answers = await asyncio.gather(*commits, return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Conflict", "NoneType"]
        assert await replicas[-1].lifecycle.load() == generation(number)


async def test_a_conflict_leaves_nothing(replicas: list[PostgresStore]) -> None:
    """No change of it is in the history."""
    await replicas[0].lifecycle.commit(generation(1), changes_of(1))
    with pytest.raises(Conflict, match="generation 6 is not what is stored any more"):
        await replicas[1].lifecycle.commit(generation(7), changes_of(7))
    assert {one.generation for one in await replicas[1].lifecycle.changes(100)} == {1}


async def test_who_hears_nothing_looks(postgresql: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as through a pooler that does not pass words on."""
    monkeypatch.setattr(subject, "NOTIFY", "SELECT 1")
    with fresh_database(postgresql) as database:
        async with opened_shared(postgresql.url(database), SystemClock()) as store:
            waiting = asyncio.ensure_future(store.lifecycle.changed(0))
            await asyncio.sleep(0)
            await store.lifecycle.commit(generation(1), changes_of(1))
            await waiting
