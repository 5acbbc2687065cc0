"""What the streams of one token hold: a key and certificate made here, beside the mesh's roots.

The key exists in memory only, while one of the streams is open and for a short time after, so that a client whose
connection reached its age finds it again; it must never be stored or logged. It is renewed at half life, and when
that is ordered; while it fails the old pair stays, and the caller's end ends the streams.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping

from meshca.backoff import Backoff
from meshca.clock import Clock, pause
from meshca.config.resource_names import DEFAULT, SECRET_TYPE_URL
from meshca.discovery import resources
from meshca.discovery.event import Resource
from meshca.discovery.order import NO_ORDER, RenewalOrder, Turn
from meshca.discovery.resources import KeyPair
from meshca.discovery.source import Shelf, Source, Wake
from meshca.errors import MeshcaError
from meshca.identity.spiffe_id import SpiffeId
from meshca.log import log

JITTER = 0.1  # of the time to half life, both ways, so that a fleet does not renew at once
LINGER = 60.0  # seconds after the last stream; a client comes back within a few
BACKOFF = Backoff(floor=1.0, ceiling=60.0)  # between tries after a failed renewal

Make = Callable[[], Awaitable[KeyPair]]


class Holding:
    """A `Source`: the delivered resources, and the token's own pair once somebody asked for it.

    Args:
        identity: another name of the pair, beside `default`.
        delivered: roots and policies.
        make: issues a pair.
        clock: for half life and pauses.
        broken: called with what a renewal failed with that no rule of ours foresees.
        order: which leaves are to be replaced now; it is looked at again when what is delivered changes.
    """

    def __init__(  # noqa: PLR0913 - the parts
        self,
        identity: SpiffeId,
        delivered: Source,
        make: Make,
        clock: Clock,
        broken: Callable[[BaseException], None],
        *,
        order: Callable[[], RenewalOrder] = lambda: NO_ORDER,
    ) -> None:
        self._names = (DEFAULT, str(identity))
        self._delivered = delivered
        self._make = make
        self._clock = clock
        self._broken = broken
        self._order = order
        self._own = Shelf()
        self._making = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None
        self._lingering: asyncio.Task[None] | None = None
        self._watchers = 0
        self._rng = random.SystemRandom()
        self._turn = Turn(self._rng, BACKOFF)
        self._news = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether no stream holds this."""
        return self._watchers == 0

    @property
    def keyless(self) -> bool:
        """Whether there is no key (any more)."""
        return self._renewing is None

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """As `Source.resources`."""
        own, delivered = self._own.resources(type_url), self._delivered.resources(type_url)
        return {**delivered, **own} if own else delivered

    def watch(self, wake: Wake) -> Wake:
        """As `Source.watch`; a while after the last watcher left, renewal stops and the key is dropped."""
        self._watchers += 1
        self._news.set()  # nobody heard what was ordered while nobody watched
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        leaves = (self._own.watch(wake), self._delivered.watch(wake), self._delivered.watch(self._news.set))

        def leave() -> None:
            for each in leaves:
                each()
            self._watchers -= 1
            if self.idle and not self.keyless:
                self._lingering = asyncio.create_task(self._drop_later())

        return leave

    async def ready(self, type_url: str, names: Collection[str]) -> None:
        """Make the pair when its name is asked for the first time; several streams cause one.

        Raises:
            MeshcaError: whatever the pipeline refuses with.
        """
        if type_url != SECRET_TYPE_URL or not set(self._names) & set(names):
            return
        async with self._making:
            if self._renewing is None:
                pair = await self._make()
                self._put(pair)
                self._renewing = asyncio.create_task(self._renew(pair))
                self._renewing.add_done_callback(self._ended)

    def _put(self, pair: KeyPair) -> None:
        self._own.put(SECRET_TYPE_URL, [resources.certificate(name, pair) for name in self._names])

    async def _drop_later(self) -> None:
        await self._clock.sleep(LINGER)
        self._lingering = None
        self._drop()

    def _drop(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        self._own = Shelf()

    async def _renew(self, pair: KeyPair) -> None:
        """Push a new pair at each half life, and when it is ordered; ends with the last stream."""
        while True:
            left = (pair.not_after - self._clock.now()).total_seconds()
            half = left / 2 * self._rng.uniform(1 - JITTER, 1 + JITTER)
            await self._until(self._clock.monotonic() + max(BACKOFF.floor, half), pair)
            pair = await self._renewed()
            if not self._turn.came(pair.signers, self._clock.now()):
                log.warning("sds.still_ordered", identity=self._names[1])
            self._put(pair)

    async def _until(self, half_life: float, pair: KeyPair) -> None:
        """Wait for half life, or for the turn of this pair under an order."""
        while True:
            self._news.clear()
            now = self._clock.now()
            self._turn.take(self._order(), now)
            left = half_life - self._clock.monotonic()
            if (moment := self._turn.due(pair.signers)) is not None:
                left = min(left, (moment - now).total_seconds())
            if left <= 0:
                return
            await pause(self._clock, left, self._news)

    async def _renewed(self) -> KeyPair:
        failures = 0
        while True:
            try:
                return await self._make()
            except MeshcaError as error:  # the old pair goes on being served
                failures += 1
                log.warning("sds.renewal_failed", identity=self._names[1], reason=error.reason, failures=failures)
            await self._clock.sleep(BACKOFF.pause(failures, self._rng))

    def _ended(self, renewing: asyncio.Task[None]) -> None:
        if not renewing.cancelled() and (error := renewing.exception()) is not None:
            self._drop()
            self._broken(error)
