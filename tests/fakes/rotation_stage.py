"""A driver that runs over fakes, and everything that it put in force."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from meshca.authority.history import Kind, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import SigningMaterial
from meshca.rotation.commands import Asked
from meshca.rotation.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, ec_key, good_material, make_ca
from tests.fakes.roots import workload
from tests.fakes.rotation_rig import Rig, rig
from tests.fakes.upstream import FakeUpstream

KEY = ec_key()
ANNA = Asked(by="uid 0", reason="the audit asks for it")


def made() -> SigningMaterial:
    """Material below a root that begins when the test does: nothing was ever signed below it."""
    return good_material(root=make_ca("root", key=KEY, begin=NOW))


class Stage:
    """A driver that runs, its upstream, and everything that was put in force."""

    def __init__(self, clock: FakeClock, material: SigningMaterial | None = None, **options: Any) -> None:
        self.clock = clock
        self.upstream = FakeUpstream(material or made())
        self.standings: list[Standing] = []
        self.rig: Rig = rig(self.upstream, clock, self._publish, **options)
        self.acts = self.rig.acts

    async def _publish(self, standing: Standing) -> None:
        self.standings.append(standing)

    @property
    def states(self) -> list[State]:
        """Of the roots, oldest first."""
        return [one.state for one in self.rig.store.lifecycle.of(Kind.ROOT)]

    @property
    def roots(self) -> tuple[Record, ...]:
        """Oldest first."""
        return self.rig.store.lifecycle.of(Kind.ROOT)

    def everybody(self, *, trusts: int, signers: tuple[int, ...], **options: Any) -> None:
        """Let there be one workload that trusts so many of the roots and holds leaves below some of them."""
        ids = [one.id for one in self.roots]
        one = workload(
            trusts=frozenset(ids[:trusts]), signers=frozenset(ids[index] for index in signers), **options
        )
        self.rig.census.fleet = (one,)

    async def turn(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)

    def acts_of(self, index: int) -> list[Act | None]:
        """What was done to a root, in order."""
        return [one.act for one in self.rig.store.history if one.authority == self.roots[index].id]


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    """With the driver running."""
    await stage.rig.rotation.start()
    task = asyncio.create_task(stage.rig.rotation.run())
    try:
        yield stage
    finally:
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
