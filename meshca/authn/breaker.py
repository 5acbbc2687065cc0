"""When to stop asking an API server that does not answer, and when to try again.

Closed: every call goes through. After FAILURES failed calls in a row it is open: nothing is asked for a pause that
grows with each failed trial. After the pause one call is the trial, and the others wait for their own next try:
a success closes it, a failure opens it again. A refused token is a success: the API server has answered.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Final

from meshca import metrics
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.log import log

FAILURES: Final = 5  # in a row
PAUSE: Final = Backoff(floor=1.0, ceiling=30.0)


class Breaker:
    """Of one API server.

    Args:
        cluster: our name for it.
        clock: for the pauses.
        rng: the source of their jitter.
    """

    def __init__(self, cluster: str, clock: Clock, rng: random.Random = JITTER) -> None:
        self._cluster = cluster
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._closed_until: float | None = None  # None while calls go through
        self._trying = False
        self._why = ""
        self._show()

    def check(self) -> None:
        """Refuse while nothing may be asked; does not begin a trial.

        Raises:
            Unavailable: reason `review_paused`.
        """
        if self._closed_until is None:
            return
        left = self._closed_until - self._clock.monotonic()
        if left > 0 or self._trying:
            raise Unavailable(
                "review_paused",
                f"{self._cluster}: asked again in {max(left, 0.0):.1f} s after {self._failures} failed reviews in"
                f" a row; the last: {self._why}",
            )

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """One call, the trial if one is due; how the block ends is how the call went.

        A call that was given up tells nothing: the next one is the trial.

        Raises:
            Unavailable: reason `review_paused`, before anything is asked; or as the block.
        """
        self.check()
        trial = self._trying = self._closed_until is not None
        try:
            yield
        except Unavailable as error:
            self._failed(error, trial=trial)
            raise
        else:
            self._succeeded()
        finally:
            if trial:
                self._trying = False

    def _failed(self, error: Unavailable, *, trial: bool) -> None:
        if self._closed_until is not None and not trial:
            return  # it was under way when others failed: no news
        self._failures, self._why = self._failures + 1, error.detail
        if self._failures < FAILURES:
            return
        pause = PAUSE.pause(self._failures - FAILURES + 1, self._rng)
        self._closed_until = self._clock.monotonic() + pause
        if not trial:
            log.error("authn.reviews_paused", cluster=self._cluster, reason=error.reason, detail=error.detail)
        self._show()

    def _succeeded(self) -> None:
        if self._closed_until is not None:
            log.info("authn.reviews_resumed", cluster=self._cluster)
        self._failures, self._closed_until, self._why = 0, None, ""
        self._show()

    def _show(self) -> None:
        metrics.token_reviews_paused.labels(self._cluster).set(0 if self._closed_until is None else 1)
