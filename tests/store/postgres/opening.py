"""Opens shared stores for tests, each in a database of its own that is made from one migrated one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator

from meshca.clock import Clock
from meshca.store.engine import open_store
from meshca.store.postgres.address import parse
from meshca.store.postgres.engine import PostgresStore
from meshca.store.postgres.migrate import migrate
from meshca.store.sharing import ALONE, Sharing
from tests.fakes.clock import FakeClock
from tests.real.postgresql import Cluster


@functools.cache
def _template(cluster: Cluster) -> str:
    name = cluster.create()
    migrate(parse(cluster.url(name)))
    return name


@contextlib.contextmanager
def fresh_database(cluster: Cluster) -> Iterator[str]:
    """The name of a database with all tables and no rows, removed at the end."""
    name = cluster.create(_template(cluster))
    try:
        yield name
    finally:
        cluster.drop(name)


@contextlib.contextmanager
def fresh_url(part: object) -> Iterator[str]:
    """The URL of such a database in the real part `postgresql`."""
    assert isinstance(part, Cluster)
    with fresh_database(part) as database:
        yield part.url(database)


@contextlib.asynccontextmanager
async def opened_shared(url: str, clock: Clock, sharing: Sharing = ALONE) -> AsyncIterator[PostgresStore]:
    """A store of one replica."""
    async with open_store(url, clock, sharing=sharing) as store:
        assert isinstance(store, PostgresStore)
        yield store


async def written(store: PostgresStore, clock: FakeClock) -> None:
    """Return once what was recorded of adoption is written."""
    await clock.advance(1)
    if (writing := store.adoption._writing) is not None:
        await asyncio.wait({writing})
