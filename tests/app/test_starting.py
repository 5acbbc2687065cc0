"""Facts about readiness while a server starts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meshca.app.starting import Starting
from meshca.errors import Unavailable
from meshca.rotation.driver import Rotation
from meshca.rotation.standing import Standing
from meshca.web.pages import Readiness
from tests.fakes.clock import FakeClock
from tests.fakes.pki import good_material
from tests.fakes.rotation_rig import rig
from tests.fakes.upstream import FakeUpstream

SERVES = Readiness(ready=True, detail={"workers": ["w0"]})


async def workers() -> Readiness:
    """They serve."""
    return SERVES


def starting(upstream: FakeUpstream, clock: FakeClock) -> tuple[Starting, Rotation]:
    """A start, and its rotation."""

    async def publish(_: Standing) -> None:
        """Nobody is there."""

    rotation = rig(upstream, clock, publish).rotation
    return Starting(rotation, workers), rotation


async def said(start: Starting) -> tuple[bool, str, Sequence[object]]:
    """What /readyz says."""
    found = await start.readiness()
    return found.ready, str(found.detail["waits_for"]), found.detail["workers"]


async def test_waits_for_the_signer() -> None:
    """While there is nothing to sign with it says why."""
    upstream, clock = FakeUpstream(good_material()), FakeClock()
    upstream.change(error=Unavailable("kube_unreachable", "home: the API server cannot be reached"))
    start, rotation = starting(upstream, clock)
    task = asyncio.create_task(rotation.start())
    await clock.advance(0)
    assert await said(start) == (False, "home: the API server cannot be reached", [])
    upstream.change()
    await clock.advance(60)
    await task
    assert await said(start) == (False, "the workers", [])


async def test_over() -> None:
    """Once the workers serve, they answer."""
    start, _ = starting(FakeUpstream(good_material()), FakeClock())
    start.over = True
    assert await start.readiness() is SERVES
