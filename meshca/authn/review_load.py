"""Bounds what proving callers costs an API server, however many of them come at once.

Equal tokens are asked about once; a good answer is used again for a few seconds, never beyond the token's end;
few questions are under way, a bounded number waits, and nothing is asked while the API server does not answer.
What fails here is our own call: that is Unavailable, which a caller may try again, never Unauthenticated. Must
never keep a token, only its hash, and never a refusal: what is refused now may be good in a second.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import random
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from meshca import metrics
from meshca.authn.breaker import Breaker
from meshca.authn.cluster import Review, Reviewer
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.config.kubernetes import TokenReviewConfig
from meshca.errors import Unavailable
from meshca.secret import Secret

REMEMBERED: Final = 4096  # good answers, about 1 KB each
LONGEST_WAIT: Final = 15.0  # seconds for a place; Istio's agents give up after 10


@dataclass(slots=True)
class _Flight:
    """A question that several callers may wait for."""

    task: asyncio.Task[Review]
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    review: Review
    fresh_until: float  # monotonic
    token_until: datetime


class ReviewLoad:
    """The reviews of one cluster.

    Args:
        cluster: our name for it.
        reviewer: asks its API server, in bounded time.
        limits: concurrency, queue, and how long a good answer is used again.
        clock: for those.
        rng: the source of jitter.
    """

    def __init__(
        self,
        cluster: str,
        reviewer: Reviewer,
        limits: TokenReviewConfig,
        clock: Clock,
        *,
        rng: random.Random = JITTER,
    ) -> None:
        self._cluster = cluster
        self._reviewer = reviewer
        self._limits = limits
        self._clock = clock
        self._breaker = Breaker(cluster, clock, rng)
        self._places = asyncio.Semaphore(limits.concurrency)
        self._waiting = 0
        self._flights: dict[bytes, _Flight] = {}
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def review(self, unverified_token: Secret[str], until: datetime) -> Review:
        """What the API server says of a token, now or some seconds ago; not yet judged.

        Args:
            unverified_token: the bearer token.
            until: when it says that it ends.

        Raises:
            Unavailable: reason `review_paused`, `review_queue` or the reviewer's own; nothing is known of the
                token.
        """
        digest = hashlib.sha256(unverified_token.reveal().encode(errors="surrogatepass")).digest()
        if (kept := self._known(digest)) is not None:
            self._count("remembered")
            return kept
        flight = self._flights.get(digest)
        if flight is None:
            flight = self._begin(digest, unverified_token, until)
        else:
            self._count("shared")
        return await self._arrival(digest, flight)

    async def _arrival(self, digest: bytes, flight: _Flight) -> Review:
        """Wait for a question; the last caller who gives up takes it along, so that no work is done for nobody."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(digest, flight.task)
                flight.task.cancel()

    def _begin(self, digest: bytes, unverified_token: Secret[str], until: datetime) -> _Flight:
        task = asyncio.create_task(self._fly(digest, unverified_token, until), name="token review")
        task.add_done_callback(functools.partial(self._forget, digest))
        flight = self._flights[digest] = _Flight(task)
        return flight

    def _forget(self, digest: bytes, task: asyncio.Task[Review]) -> None:
        if (flight := self._flights.get(digest)) is not None and flight.task is task:
            del self._flights[digest]

    async def _fly(self, digest: bytes, unverified_token: Secret[str], until: datetime) -> Review:
        self._check_queue()
        await self._place()
        try:
            review = await self._ask(unverified_token)
        finally:
            self._places.release()
        if review.authenticated:
            self._keep(digest, review, until)
        return review

    def _check_queue(self) -> None:
        try:
            self._breaker.check()
            if self._places.locked() and self._waiting >= self._limits.queue:
                raise self._crowded(f"{self._waiting} wait already")
        except Unavailable:
            self._count("turned_away")
            raise

    async def _place(self) -> None:
        """Wait for one of the places; first come, first served.

        Raises:
            Unavailable: reason `review_queue`, when that took too long to be of use to the caller.
        """
        begun = self._clock.monotonic()
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
            waited = self._clock.monotonic() - begun
            metrics.token_review_seconds.labels(self._cluster, "queue").observe(waited)
        if waited > LONGEST_WAIT:
            self._places.release()
            self._count("turned_away")
            raise self._crowded(f"no place within {LONGEST_WAIT:g} s")

    async def _ask(self, unverified_token: Secret[str]) -> Review:
        begun = self._clock.monotonic()
        in_flight = metrics.token_reviews_in_flight.labels(self._cluster)
        try:
            with self._breaker.call():
                in_flight.inc()
                try:
                    review = await self._reviewer.review(unverified_token, self._limits.audiences)
                finally:
                    in_flight.dec()
                    taken = self._clock.monotonic() - begun
                    metrics.token_review_seconds.labels(self._cluster, "call").observe(taken)
        except Unavailable as error:
            self._count("turned_away" if error.reason == "review_paused" else "failed")
            raise
        self._count("good" if review.authenticated else "refused")
        return review

    def _known(self, digest: bytes) -> Review | None:
        kept = self._kept.get(digest)
        if kept is None:
            return None
        if self._clock.monotonic() >= kept.fresh_until or self._clock.now() >= kept.token_until:
            del self._kept[digest]
            return None
        return kept.review

    def _keep(self, digest: bytes, review: Review, until: datetime) -> None:
        now, seconds = self._clock.monotonic(), self._limits.cache.total_seconds()
        if seconds <= 0:
            return
        self._kept.pop(digest, None)
        self._kept[digest] = _Kept(review=review, fresh_until=now + seconds, token_until=until)
        while len(self._kept) > REMEMBERED or next(iter(self._kept.values())).fresh_until <= now:
            self._kept.popitem(last=False)

    def _crowded(self, detail: str) -> Unavailable:
        return Unavailable(
            "review_queue", f"{self._cluster}: {self._limits.concurrency} reviews are under way and {detail}"
        )

    def _count(self, result: str) -> None:
        metrics.token_reviews.labels(self._cluster, result).inc()
