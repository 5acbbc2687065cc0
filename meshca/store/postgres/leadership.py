"""Which of the replicas on one PostgreSQL takes steps: who holds an advisory lock of the database.

A lock of a session goes with its connection, so a replica that dies stops leading without a word, and one that is
cut off after some seconds of silence. Who could not do a leader's work leaves it to others.
It only saves work: every step is a commit of a generation, which one replica wins, whoever believes to lead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from meshca.clock import Clock
from meshca.errors import MeshcaError
from meshca.log import log
from meshca.store.postgres.link import Connection, Link

LOOK_SECONDS: Final = 0.5
SILENT: Final = timedelta(seconds=10)  # after which a replica that said nothing may be cut off
_LOCK: Final = 0x6D657368  # "mesh": of all locks in the database that only we use
_NAME: Final = "SELECT set_config('application_name', %s, false)"
# A replica that is cut off says nothing any more, and its server would wait for hours (tcp_keepalives_idle).
_IDLE: Final = "SELECT set_config('idle_session_timeout', '5s', false)"
_KNOWS_IDLE: Final = 140_000  # PostgreSQL 14
_OURS: Final = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND pid = pg_backend_pid()"
)
_TRY: Final = "SELECT pg_try_advisory_lock(%s)"
_GIVE_UP: Final = "SELECT pg_advisory_unlock(%s)"
_HOLDER: Final = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE locktype = 'advisory' AND objid = %s AND granted"
)
_PREFIX: Final = "meshca "
# By the database's clock alone: the clocks of replicas are never compared.
_ALIVE: Final = (
    "INSERT INTO probe (instance, sequence, written_at) "
    "VALUES (%s, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) "
    "ON CONFLICT (instance) DO UPDATE SET written_at = excluded.written_at"
)
_GONE: Final = "DELETE FROM probe WHERE instance = %s"
_SILENT: Final = (
    "SELECT instance FROM probe, "
    "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) AS clock "
    "WHERE instance LIKE %s AND written_at < now - %s AND written_at > now - %s ORDER BY instance"
)
_LIVING: Final = (
    "SELECT instance FROM probe, "
    "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) AS clock "
    "WHERE instance LIKE %s AND written_at >= now - %s ORDER BY instance"
)
_SUFFIX: Final = "/alive"
_MICRO: Final = timedelta(microseconds=1)


class Leadership:
    """Tries to hold the lock while `run` runs.

    Args:
        link: a connection that nobody else uses.
        clock: for the pauses between looks.
        replica: our name.
        spools: whether records wait on our disk.

    Attributes:
        leading: whether we held it at the last look.
        leader: the name of the replica that did; empty when nobody did, or it cannot be seen.
    """

    def __init__(self, link: Link, clock: Clock, replica: str, spools: Callable[[], bool] = lambda: False) -> None:
        self.leading = False
        self.leader = ""
        self._link = link
        self._clock = clock
        self._replica = replica
        self._spools = spools

    async def run(self, standing: Callable[[], bool] = lambda: True) -> None:
        """Look for ever.

        Args:
            standing: whether we could do a leader's work; until then it is left to others.
        """
        while True:
            before = self.leading
            try:
                self.leading, self.leader = await self._link.run(lambda link: self._look(link, stands=standing()))
            except MeshcaError:  # the link has logged it
                self.leading, self.leader = False, ""
            if self.leading != before:
                log.info("replica.leads" if self.leading else "replica.follows", replica=self._replica)
            await self._clock.sleep(LOOK_SECONDS)

    async def silent(self, within: timedelta) -> tuple[str, ...]:
        """Replicas that were heard within this time, but not lately, and did not say goodbye.

        Raises:
            Unavailable: reason `store`.
        """
        return await self._replicas(_SILENT, SILENT // _MICRO, within // _MICRO)

    async def living(self) -> tuple[str, ...]:
        """Replicas that are heard.

        Raises:
            Unavailable: reason `store`.
        """
        return await self._replicas(_LIVING, SILENT // _MICRO)

    async def goodbye(self) -> None:
        """Say that we end, so that nobody waits for us; nothing happens while the store is out of reach."""

        async def tell(connection: Connection) -> None:
            await connection.execute(_GONE, (self._replica + _SUFFIX,))

        if self._spools():
            return
        with contextlib.suppress(MeshcaError):  # then we are silent, as others see it
            await self._link.run(tell)

    async def _replicas(self, statement: str, *ages: int) -> tuple[str, ...]:
        async def ask(connection: Connection) -> tuple[str, ...]:
            rows = await (await connection.execute(statement, (f"%{_SUFFIX}", *ages))).fetchall()
            return tuple(str(name).removesuffix(_SUFFIX) for (name,) in rows)

        return await self._link.run(ask)

    async def _look(self, connection: Connection, *, stands: bool) -> tuple[bool, str]:
        await connection.execute(_NAME, (_PREFIX + self._replica,))
        if connection.info.server_version >= _KNOWS_IDLE:
            await connection.execute(_IDLE)
        if not self._spools():  # what waits here is not known to the others: they must not think that it is
            await connection.execute(_ALIVE, (self._replica + _SUFFIX,))
        ours = await (await connection.execute(_OURS, (_LOCK,))).fetchone()
        if ours is not None and ours[0]:
            if stands:
                return True, self._replica
            await connection.execute(_GIVE_UP, (_LOCK,))
        if stands:
            tried = await (await connection.execute(_TRY, (_LOCK,))).fetchone()
            if tried is not None and tried[0]:
                return True, self._replica
        holder = await (await connection.execute(_HOLDER, (_LOCK,))).fetchone()
        return False, "" if holder is None else str(holder[0]).removeprefix(_PREFIX)
