"""A driver over an upstream that a test changes, the material that it changes to, and what was put in force."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from meshca.authority.material import SigningMaterial
from meshca.authority.upstream import Upstream
from meshca.errors import MeshcaError, Unavailable
from meshca.rotation.driver import Rotation
from meshca.rotation.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.pki import ec_key, good_material, make_ca
from tests.fakes.rotation_rig import rig
from tests.fakes.upstream import FakeUpstream

ROOT = make_ca("root")
FIRST, SECOND = good_material(root=ROOT), good_material(root=ROOT)
BAD = replace(SECOND, key=ec_key())
OTHER_ROOT = good_material()
WORSE = replace(FIRST, key=ec_key())
DOWN = Unavailable("test", "down")


class Published(list[SigningMaterial]):
    """Remembers what was put in force; refuses while `error` is set."""

    error: MeshcaError | None = None

    async def __call__(self, standing: Standing) -> None:
        """Put in force."""
        if self.error is not None:
            raise self.error
        self.append(standing.signer)


def rotation_of(upstream: Upstream, clock: FakeClock, published: Published, jitter: float = 1.0) -> Rotation:
    """A rotation whose pauses have their full length, over an empty store and an empty fleet."""
    return rig(upstream, clock, published, jitter=jitter).rotation


def turns(upstream: FakeUpstream) -> int:
    """How many turns were begun: each looks at the lines once."""
    return upstream.history.count("lines")


@contextlib.asynccontextmanager
async def running(rotation: Rotation) -> AsyncIterator[None]:
    """A rotation that has started and runs."""
    await rotation.start()
    task = asyncio.create_task(rotation.run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
