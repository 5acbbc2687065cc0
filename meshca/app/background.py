"""Work that goes on beside everything else, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from meshca.clock import Clock
from meshca.log import log

PAUSE: Final = 1.0  # seconds before work that failed is begun again


@contextlib.asynccontextmanager
async def running(name: str, run: Callable[[], Awaitable[None]], clock: Clock) -> AsyncIterator[None]:
    """Run something for ever beside the block; when it fails that is logged and it is begun again.

    Args:
        name: for the log.
        run: what to do; it is cancelled at the end of the block.
        clock: for the pause after a failure.
    """

    async def forever() -> None:
        while True:
            try:
                await run()
            except Exception:  # noqa: BLE001 - logged with its traceback
                log.exception("background.failed", task=name)
            await clock.sleep(PAUSE)

    task = asyncio.create_task(forever(), name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
