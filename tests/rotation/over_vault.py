"""A driver that runs over Vault's upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from meshca.rotation.driver import Rotation
from meshca.rotation.standing import Standing
from meshca.upstream.vault.signing import Keys
from tests.fakes.rotation_rig import Rig as Driven
from tests.fakes.rotation_rig import rig as driver
from tests.fakes.vault_rig import Rig


async def publish(_: Standing) -> None:
    """Nobody is there."""


@contextlib.asynccontextmanager
async def driving(
    rig: Rig, poll: str = "30s", *, keys: Keys | None = None, jitter: float = 0.0
) -> AsyncIterator[Driven]:
    """A driver that runs over the upstream, with what is around it."""
    driven = driver(
        rig.open(poll=poll, keys=keys, jitter=jitter), rig.clock, publish, plugged_in=True, jitter=jitter or 1.0
    )
    await driven.rotation.start()
    task = asyncio.create_task(driven.rotation.run())
    try:
        yield driven
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(
    rig: Rig, poll: str = "30s", *, keys: Keys | None = None, jitter: float = 0.0
) -> AsyncIterator[Rotation]:
    """The driver alone."""
    async with driving(rig, poll, keys=keys, jitter=jitter) as driven:
        yield driven.rotation
