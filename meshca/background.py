"""Work that goes on beside everything else, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from meshca import metrics
from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.log import log

BACKOFF: Final = Backoff(floor=1.0, ceiling=60.0)  # before work that failed is begun again
STEADY: Final = 60.0  # seconds of work after which earlier failures are forgotten


@contextlib.asynccontextmanager
async def running(
    name: str, run: Callable[[], Awaitable[None]], clock: Clock, rng: random.Random = JITTER
) -> AsyncIterator[None]:
    """Run something for ever beside the block; when it fails that is logged and counted and it is begun again.

    Args:
        name: for the log and the metric.
        run: what to do; it is cancelled at the end of the block.
        clock: for the pause after a failure.
        rng: the source of its jitter.
    """

    async def forever() -> None:
        failures = 0
        while True:
            begun = clock.monotonic()
            try:
                await run()
            except Exception:  # noqa: BLE001 - logged with its traceback
                log.exception("background.failed", task=name)
                metrics.background_failures.labels(name).inc()
            failures = 1 if clock.monotonic() - begun > STEADY else failures + 1
            await clock.sleep(BACKOFF.pause(failures, rng))

    task = asyncio.create_task(forever(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
