"""Hears that another replica has committed a lifecycle: a connection that waits for the server's word.

Only a hint, never the truth: who is woken looks for himself, and looks from time to time without being woken.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import psycopg

from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.store.postgres.address import Address
from meshca.store.postgres.link import connect
from meshca.store.postgres.sql import LISTEN

BACKOFF: Final = Backoff(floor=0.2, ceiling=5.0)


class Listener:
    """Opens its connection when first asked to listen, and again whenever it is lost."""

    def __init__(self, address: Address, clock: Clock, rng: random.Random = JITTER) -> None:
        self._address = address
        self._clock = clock
        self._rng = rng
        self._news = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._failures = 0

    def next(self) -> asyncio.Event:
        """What is set with the next word from now on."""
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen())
        return self._news

    async def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(Unavailable, psycopg.Error):  # the store's other connections have logged why
                await self._hear()
            self._failures += 1
            await self._clock.sleep(BACKOFF.pause(self._failures, self._rng))

    async def _hear(self) -> None:
        connection = await connect(self._address)
        try:
            await connection.execute(LISTEN)
            self._failures = 0
            self._tell()  # what was committed while nobody listened
            async for _ in connection.notifies():
                self._tell()
        finally:
            await connection.close()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
