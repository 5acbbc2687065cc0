"""Opens the store: one SQLite file, or a PostgreSQL, behind the ports of ledger, adoption, lineage and history.

Every process of a server opens the same file: the parent migrates, workers check. A fault at opening is the
operator's to mend (ConfigError); later ones are Unavailable and end by themselves when their cause does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from meshca.authority.history import LifecycleStore
from meshca.clock import Clock
from meshca.errors import ConfigError, Unavailable
from meshca.ledger.port import LedgerStore
from meshca.store import migrate as migration
from meshca.store.adoption import SqlAdoption, SqliteAdoptions
from meshca.store.connection import connect
from meshca.store.faults import advice
from meshca.store.ledger import SqlLedger
from meshca.store.lifecycle import SqlLifecycle
from meshca.store.lineage import LedgerLineage
from meshca.store.location import is_shared, prepare, sqlite_file
from meshca.store.reader import Reader
from meshca.store.rows import micros
from meshca.store.sharing import ALONE, Sharing
from meshca.store.spool.terms import NOTHING, Spooled
from meshca.store.sql import FORGET_PROBES, PROBE_READ, PROBE_WRITE
from meshca.store.writer import Writer

_PROBE_AGE: Final = timedelta(days=1)  # after which the row of a process is forgotten at start
_NO_FILE: Final = "does not exist yet; it is made by `meshca serve`, start that first"


class Store(Protocol):
    """An open store; made by `open_store`.

    Attributes:
        ledger: the record of every signature.
        adoption: what agents have adopted.
        lineage: what was proven when a certificate was issued.
        lifecycle: where every root and intermediate stands, and how it came there.
    """

    @property
    def ledger(self) -> LedgerStore: ...  # noqa: D102 - as above, and below
    @property
    def adoption(self) -> SqlAdoption: ...  # noqa: D102
    @property
    def lineage(self) -> LedgerLineage: ...  # noqa: D102
    @property
    def lifecycle(self) -> LifecycleStore: ...  # noqa: D102

    @property
    def commits(self) -> int:
        """How many transactions this process has committed."""
        ...

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        ...

    @property
    def spooled(self) -> Spooled:
        """What waits on this machine's disk until a shared store is back; nothing when it is not shared."""
        ...

    @property
    def leading(self) -> bool:
        """Whether this replica takes the steps of a rotation; who is alone always does."""
        ...

    @property
    def leader(self) -> str:
        """The name of the replica that does; empty when that is not known, or one is alone."""
        ...

    async def lead(self, standing: Callable[[], bool]) -> None:
        """Try to lead, for ever; for the one parent of a server.

        Args:
            standing: whether it could take steps now; else it leaves that to others.
        """
        ...

    async def silent(self, within: timedelta) -> tuple[str, ...]:
        """Other replicas that were heard within this time, but not lately: they may issue what is not here yet.

        Raises:
            Unavailable: reason `store`.
        """
        ...

    async def living(self) -> tuple[str, ...]:
        """Replicas that are heard; none is told when one is alone.

        Raises:
            Unavailable: reason `store`.
        """
        ...

    async def probe(self) -> None:
        """Try that issuing can go on: write a row the way issuance does and read it back.

        While a shared store is out of reach it is enough that the spool takes more.

        Raises:
            Unavailable: reason `store`.
        """
        ...

    async def reach(self) -> None:
        """As `probe`, the spool left aside: who leads must see what the others see.

        Raises:
            Unavailable: reason `store`.
        """
        ...


class SqliteStore:
    """Implements `Store`."""

    def __init__(self, path: Path, clock: Clock, instance: str) -> None:
        self._clock = clock
        self._instance = instance
        self._sequence = itertools.count(micros(clock.now()))
        self._writer = Writer(path, clock)
        self._reader = Reader(path, "store-reader")
        self._lister = Reader(path, "store-lister")
        self.ledger = SqlLedger(self._writer, self._reader, self._lister, clock)
        self.adoption = SqlAdoption(SqliteAdoptions(self._writer, self._lister), clock)
        self.lineage = LedgerLineage(self.ledger)
        self.lifecycle = SqlLifecycle(self._writer, self._reader, clock)

    @property
    def commits(self) -> int:
        """How many transactions this process has committed, an fsync each."""
        return self._writer.commits

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        return len(self._writer)

    @property
    def spooled(self) -> Spooled:
        """As `Store` says: nothing."""
        return NOTHING

    @property
    def leading(self) -> bool:
        """As `Store` says: nobody else can have the file."""
        return True

    @property
    def leader(self) -> str:
        """As `Store` says."""
        return ""

    async def lead(self, standing: Callable[[], bool]) -> None:
        """As `Store` says: there is nobody to lead."""
        del standing
        await asyncio.Event().wait()

    async def silent(self, within: timedelta) -> tuple[str, ...]:
        """As `Store` says: there are none."""
        del within
        return ()

    async def living(self) -> tuple[str, ...]:
        """As `Store` says."""
        return ()

    async def probe(self) -> None:
        """As `Store` says."""
        await self.reach()

    async def reach(self) -> None:
        """As `Store` says."""
        sequence = next(self._sequence)
        row = (self._instance, sequence, micros(self._clock.now()))
        await self._writer.run(lambda connection: connection.execute(PROBE_WRITE, row).rowcount)
        found = await self._reader.read(
            lambda connection: connection.execute(PROBE_READ, (self._instance,)).fetchone()
        )
        if found != (sequence,):
            raise Unavailable(
                "store", "what was read is not what was written; is this file system shared or broken?"
            )

    async def close(self) -> None:
        """Write what waits and end the threads."""
        await self.adoption.close()
        await self._writer.close()
        await self._reader.close()
        await self._lister.close()


@contextlib.asynccontextmanager
async def open_store(
    url: str,
    clock: Clock,
    *,
    migrate: bool = False,
    instance: str | None = None,
    sharing: Sharing = ALONE,
) -> AsyncIterator[Store]:
    """The store, tried with a write and a read.

    Args:
        url: `sqlite:////absolute/path.db` or `postgresql://user@host/database`.
        clock: what has ended is decided by it.
        migrate: make the file and bring its tables up to date; for the one parent of a server only.
        instance: name of this process in the store, for the probe; its process id when None.
        sharing: how this replica shares a PostgreSQL with others.

    Raises:
        ConfigError: the file or the database cannot be used; says why and what to do.
    """
    name = instance or f"pid-{os.getpid()}"
    if is_shared(url):
        from meshca.store.postgres.engine import open_postgres  # psycopg is not for who does without it

        async with open_postgres(url, clock, migrate=migrate, instance=name, sharing=sharing) as shared:
            yield shared
        return
    path = sqlite_file(url)
    try:
        await asyncio.to_thread(_ready, path, clock, migrate=migrate)
        store = SqliteStore(path, clock, name)
    except sqlite3.Error as error:
        raise ConfigError(str(path), [advice(error)]) from None
    try:
        await _tried(store, path)
        yield store
    finally:
        await store.close()


async def _tried(store: SqliteStore, path: Path) -> None:
    try:
        await store.probe()
    except Unavailable as error:
        raise ConfigError(str(path), [error.detail]) from None


def _ready(path: Path, clock: Clock, *, migrate: bool) -> None:
    if migrate:
        prepare(path)
        migration.migrate(path, str(path))
    elif not path.exists():
        raise ConfigError(str(path), [_NO_FILE])
    with contextlib.closing(connect(path)) as connection:
        migration.check_schema(connection, str(path))
        if migrate:  # rows of processes of an earlier server
            connection.execute(FORGET_PROBES, (micros(clock.now() - _PROBE_AGE),))
