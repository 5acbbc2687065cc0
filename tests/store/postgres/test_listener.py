"""Hearing that another replica has committed; a hint that may come too often, and never only once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
import pytest

from meshca.clock import SystemClock
from meshca.store.postgres.address import parse
from meshca.store.postgres.listener import Listener
from meshca.store.postgres.sql import CHANNEL
from tests.fakes.hurried_clock import HurriedClock
from tests.real.postgresql import Cluster

pytestmark = pytest.mark.real("postgresql")


@contextlib.asynccontextmanager
async def opened(cluster: Cluster) -> AsyncIterator[Listener]:
    """A listener that listens."""
    listener = Listener(parse(cluster.url("postgres")), SystemClock())
    try:
        await listener.next().wait()
        yield listener
    finally:
        await listener.close()


async def test_who_begins_to_listen_looks_first(postgresql: Cluster) -> None:
    """What was committed before is not told again."""
    async with opened(postgresql) as listener:
        assert not listener.next().is_set()


async def test_a_word_is_heard(postgresql: Cluster) -> None:
    """Each one."""
    async with opened(postgresql) as listener:
        for _ in range(3):
            news = listener.next()
            await asyncio.to_thread(postgresql.execute, f"NOTIFY {CHANNEL}")
            await news.wait()


async def test_a_lost_connection_is_made_again(postgresql: Cluster) -> None:
    """And what came in between is looked for."""
    async with opened(postgresql) as listener:
        news = listener.next()
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN {CHANNEL}'"  # noqa: S608 - ours
        await asyncio.to_thread(postgresql.execute, end)
        await news.wait()


async def test_a_server_that_is_away_is_no_news() -> None:
    """It is tried again, and nobody is woken."""
    clock = HurriedClock()
    listener = Listener(parse("postgresql:///x?host=/nonesuch"), clock)
    news = listener.next()
    while clock.monotonic() < 10:  # noqa: ASYNC110 - it tries by itself
        await asyncio.sleep(0.001)
    assert not news.is_set()
    await listener.close()


async def test_a_listener_that_never_listened_is_closed() -> None:
    """It has no connection."""
    await Listener(parse("postgresql:///x"), HurriedClock()).close()


async def test_only_one_connection_is_made(postgresql: Cluster) -> None:
    """However many wait."""
    async with opened(postgresql) as listener:
        listener.next()
        listener.next()
        with psycopg.connect(postgresql.url("postgres")) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"
            assert connection.execute(query, (f"LISTEN {CHANNEL}",)).fetchone() == (1,)
