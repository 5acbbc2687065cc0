"""Opens a store that several replicas share: one PostgreSQL database behind all of the store's ports.

A fault at opening is the operator's to mend (ConfigError), but for a worker that may spool: it starts without the
store, because a replica that lost a worker meanwhile must not lose the others' work as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Final

from meshca.clock import Clock
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.ledger.port import LedgerStore
from meshca.store.adoption import SqlAdoption
from meshca.store.lineage import LedgerLineage
from meshca.store.postgres import migrate as migration
from meshca.store.postgres.address import Address, parse
from meshca.store.postgres.adoption import PostgresAdoptions
from meshca.store.postgres.leadership import Leadership
from meshca.store.postgres.ledger import PostgresLedger
from meshca.store.postgres.lifecycle import PostgresLifecycle
from meshca.store.postgres.link import Connection, Link, connect
from meshca.store.postgres.listener import Listener
from meshca.store.postgres.sql import FORGET_PROBES, PROBE_READ, PROBE_WRITE
from meshca.store.postgres.writer import Writer
from meshca.store.rows import micros
from meshca.store.sharing import Sharing
from meshca.store.spool.ledger import SpooledLedger
from meshca.store.spool.terms import NOTHING, Spooled, SpoolTerms

LIST_SECONDS: Final = 30.0  # for what may take long
_PROBE_AGE: Final = timedelta(days=1)  # after which the row of a process is forgotten at start
_REPLICA: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")


class PostgresStore:
    """Implements `store.engine.Store`; made by `open_postgres`."""

    def __init__(
        self, address: Address, clock: Clock, *, replica: str, instance: str, spool: SpoolTerms | None
    ) -> None:
        self._clock = clock
        self._instance = f"{replica}/{instance}"
        self._sequence = itertools.count(micros(clock.now()))
        self._writing = Link(address, clock, "writer")
        self._reading = Link(address, clock, "reader")
        self._listing = Link(address, clock, "lister", seconds=LIST_SECONDS)
        self._leading = Link(address, clock, "leader")
        self._spool_folder = None if spool is None else spool.folder
        self._leadership = Leadership(self._leading, clock, replica, self._spools)
        self._led = False  # only a server's parent does
        self._listener = Listener(address, clock)
        self._writer = Writer(self._writing)
        shared = PostgresLedger(self._writer, self._reading, self._listing, clock)
        self._spooled = None if spool is None else SpooledLedger(shared, spool, clock)
        self.ledger: LedgerStore = shared if self._spooled is None else self._spooled
        self.adoption = SqlAdoption(PostgresAdoptions(self._listing, replica, clock), clock)
        self.lineage = LedgerLineage(self.ledger)
        self.lifecycle = PostgresLifecycle(self._reading, self._listener, clock)

    def _spools(self) -> bool:
        """Whether records of any process of this replica wait on the disk, those set aside included."""
        return self._spool_folder is not None and any(self._spool_folder.glob("*"))

    @property
    def commits(self) -> int:
        """How many transactions of intents and outcomes this process has committed."""
        return self._writer.commits

    @property
    def waiting(self) -> int:
        """How many writes wait."""
        return len(self._writer)

    @property
    def spooled(self) -> Spooled:
        """What waits on this machine's disk for the store to come back."""
        return NOTHING if self._spooled is None else self._spooled.spooled

    @property
    def leading(self) -> bool:
        """Whether this replica takes the steps of a rotation."""
        return self._leadership.leading

    @property
    def leader(self) -> str:
        """The replica that does; empty when nobody does, or it cannot be seen."""
        return self._leadership.leader

    async def lead(self, standing: Callable[[], bool]) -> None:
        """Try to lead, for ever."""
        self._led = True
        await self._leadership.run(standing)

    async def silent(self, within: timedelta) -> tuple[str, ...]:
        """Replicas that may be cut off, and issue what is not recorded here yet.

        Raises:
            Unavailable: reason `store`.
        """
        return await self._leadership.silent(within)

    async def living(self) -> tuple[str, ...]:
        """Replicas that are heard.

        Raises:
            Unavailable: reason `store`.
        """
        return await self._leadership.living()

    async def probe(self) -> None:
        """As `reach`; without the store it is enough that issuing can go on without it.

        Raises:
            Unavailable: reason `store`.
        """
        try:
            await self.reach()
        except Unavailable as error:
            if self._spooled is None:
                raise
            self._spooled.check(error)

    async def reach(self) -> None:
        """Write a row the way issuance does and read it back by another connection.

        Raises:
            Unavailable: reason `store`.
        """
        sequence = next(self._sequence)
        row = (self._instance, sequence, micros(self._clock.now()))

        async def write(connection: Connection) -> None:
            await connection.execute(PROBE_WRITE, row)

        async def read(connection: Connection) -> object:
            return await (await connection.execute(PROBE_READ, (self._instance,))).fetchone()

        await self._writing.run(write)
        if await self._reading.run(read) != (sequence,):
            problem = (
                "what was read is not what was written; is ledger.url of two databases, or a pool of standbys?"
            )
            raise Unavailable("store", problem)

    async def close(self) -> None:
        """Write what waits and end the connections."""
        await self.adoption.close()
        if self._spooled is not None:
            await self._spooled.close()
        await self._writer.close()
        await self._listener.close()
        if self._led:
            await self._leadership.goodbye()
        for link in (self._writing, self._reading, self._listing, self._leading):
            await link.close()


@contextlib.asynccontextmanager
async def open_postgres(
    url: str, clock: Clock, *, migrate: bool, instance: str, sharing: Sharing
) -> AsyncIterator[PostgresStore]:
    """As `store.engine.open_store`.

    Raises:
        ConfigError: the database cannot be used; says why and what to do.
    """
    address = parse(url)
    spool = sharing.spool if sharing.spool is not None and sharing.spool.max_age > timedelta() else None
    needed = migrate or spool is None
    await _ready(address, clock, migrate=migrate, needed=needed)
    store = PostgresStore(address, clock, replica=checked(sharing.replica), instance=instance, spool=spool)
    try:
        try:
            await (store.reach() if needed else store.probe())
        except Unavailable as error:
            raise ConfigError(address.where, [error.detail]) from None
        yield store
    finally:
        await store.close()


def checked(replica: str) -> str:
    """The name that other replicas know this one by; the machine's when none is given.

    Raises:
        ConfigError: it has other characters than a host name.
    """
    name = replica or socket.gethostname()
    if not _REPLICA.fullmatch(name):
        raise ConfigError("the replica's name", ["expected letters, digits, dots and dashes, as in a host name"])
    return name


async def _ready(address: Address, clock: Clock, *, migrate: bool, needed: bool) -> None:
    if migrate:
        await asyncio.to_thread(migration.migrate, address)
    try:
        connection = await connect(address)
    except Unavailable as error:
        if needed:
            raise ConfigError(address.where, [error.detail]) from None
        return  # it may spool
    await connection.close()
    await asyncio.to_thread(migration.check_schema, address)
    if migrate:
        await _forget_probes(address, clock)


async def _forget_probes(address: Address, clock: Clock) -> None:
    """Rows of processes of earlier servers."""
    link = Link(address, clock, "opening")

    async def forget(connection: Connection) -> Any:  # noqa: ANN401 - a cursor that nobody reads
        return await connection.execute(FORGET_PROBES, (micros(clock.now() - _PROBE_AGE),))

    try:
        await link.run(forget)
    except MeshcaError as error:
        raise ConfigError(address.where, [error.detail]) from None
    finally:
        await link.close()
