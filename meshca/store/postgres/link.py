"""One connection that comes back by itself: whoever asks while the server is away is told at once, and why.

Must never wait for ever, nor let many callers wait for a server that is known to be away: after the first fault a
task of its own tries again with back-off, and everybody else hears the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import psycopg
from psycopg import AsyncConnection

from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import ConfigError, InvariantBroken, MeshcaError, Unavailable
from meshca.log import log
from meshca.store.postgres.address import CONNECT_SECONDS, Address
from meshca.store.postgres.faults import needs_reopening, refuses_value, timed_out, unavailable

ANSWER_SECONDS: Final = 3.0  # for one piece of work; a commit takes milliseconds
OPENING_SECONDS: Final = 4.0 * CONNECT_SECONDS  # for all addresses of the server, name resolution included
MAX_WAITING: Final = 8192
BACKOFF: Final = Backoff(floor=0.1, ceiling=2.0)
# An intent is durable before it is reported: a database or role may have turned that off for speed.
_SETTINGS: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)

logging.getLogger("psycopg").setLevel(logging.ERROR)  # warns of connections that are lost, which we do ourselves

T = TypeVar("T")
Connection = AsyncConnection[tuple[object, ...]]


class Link:
    """One connection, used by one task at a time. Made, used and closed on one event loop.

    Args:
        address: of the server.
        clock: for back-off.
        name: what it is for, for the log.
        seconds: how long one piece of work may take.
    """

    def __init__(
        self,
        address: Address,
        clock: Clock,
        name: str,
        *,
        seconds: float = ANSWER_SECONDS,
        rng: random.Random = JITTER,
    ) -> None:
        self._address = address
        self._clock = clock
        self._name = name
        self._seconds = seconds
        self._rng = rng
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._fault: Unavailable | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._works: set[asyncio.Task[object]] = set()
        self._closed = False

    @property
    def fault(self) -> Unavailable | None:
        """Why the server cannot be used now; None when it can, or was not tried yet."""
        return self._fault

    def __len__(self) -> int:
        """How many pieces of work wait or are under way."""
        return len(self._works)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What a piece of work gives; a caller that is cancelled does not take the connection with it.

        Raises:
            Unavailable: reason `store`.
            InvariantBroken: reason `store_value`, when the database will never take what it is given.
        """
        if len(self._works) >= MAX_WAITING:
            raise Unavailable("store", f"{MAX_WAITING} jobs wait already; the server or the way to it is too slow")
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_look_away)
            raise

    async def close(self) -> None:
        """Finish what is under way, then close the connection."""
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reopening
        if self._works:
            await asyncio.gather(*self._works, return_exceptions=True)
        await self._drop()

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._lock:
            connection = await self._get()
            hurry = _Hurry(connection, self._seconds)
            try:
                with hurry:
                    return await work(connection)
            except psycopg.Error as error:
                raise await self._failed(connection, error, late=hurry.late) from None
            except MeshcaError:
                raise  # said by the work itself, within a transaction that is over
            except BaseException:
                await self._drop()
                raise

    async def _get(self) -> Connection:
        if self._closed:
            raise Unavailable("store", "the store is closed")
        if self._fault is not None:
            raise Unavailable(self._fault.reason, self._fault.detail)
        if self._connection is None:
            try:
                self._connection = await connect(self._address)
            except Unavailable as error:
                self._lost(error)
                raise
        return self._connection

    async def _failed(self, connection: Connection, error: psycopg.Error, *, late: bool) -> MeshcaError:
        fault = timed_out(self._seconds) if late else unavailable(error)
        if late or connection.broken or connection.closed or needs_reopening(error):
            await self._drop()
            self._lost(fault)
        elif refuses_value(error):
            return InvariantBroken("store_value", fault.detail)
        return fault

    def _lost(self, fault: Unavailable) -> None:
        log.error("store.lost", connection=self._name, detail=fault.detail)
        self._fault = Unavailable(fault.reason, fault.detail)  # each its own: they gather tracebacks
        if not self._closed:
            self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        failures = 0
        while self._connection is None:
            failures += 1
            await self._clock.sleep(BACKOFF.pause(failures, self._rng))
            try:
                self._connection = await connect(self._address)
            except Unavailable as error:
                self._fault = Unavailable(error.reason, error.detail)
        self._fault = None
        log.info("store.back", connection=self._name)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()


async def connect(address: Address) -> Connection:
    """A connection that commits each statement by itself, durably.

    Raises:
        Unavailable: reason `store`, when there is none to be had; says what an operator can do.
    """
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            connection = await AsyncConnection.connect(**address.parameters(), autocommit=True)  # type: ignore[arg-type] # libpq's options are text
            try:
                await connection.execute(_SETTINGS)
            except BaseException:
                await connection.close()
                raise
            return connection
    except psycopg.Error as error:
        raise unavailable(error) from None
    except TimeoutError:
        raise timed_out(OPENING_SECONDS) from None
    except UnicodeError:  # of Python's name resolution: two dots in a row, a label that is too long
        raise Unavailable("store", "the host's name is no name; see ledger.url") from None
    except ConfigError as error:
        raise Unavailable("store", str(error.detail)) from None


class _Hurry:
    """Cuts a connection after some seconds: psycopg, cancelled, would ask the server to stop, and wait for it."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self.late = False
        self._connection = connection
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        self.late = True
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as cut,
        ):
            cut.shutdown(socket.SHUT_RDWR)


def _look_away(task: asyncio.Task[object]) -> None:
    """Nobody waits for it any more; an error is no news."""
    if not task.cancelled():
        task.exception()
