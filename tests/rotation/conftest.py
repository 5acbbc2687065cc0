"""The driver that the tests of whole rotations watch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.rotation_stage import Stage, running


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A CA with one root that runs."""
    async with running(Stage(FakeClock(NOW))) as made:
        yield made
