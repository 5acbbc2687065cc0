"""A keeper that runs, over a cluster in memory; a file with another rig makes its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.logs import captured_logs
from tests.kube.keeper_rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A keeper at work."""
    made = Rig()
    task = asyncio.create_task(made.keeper.run())
    with captured_logs():
        yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
