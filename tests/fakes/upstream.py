"""An upstream that offers what a test puts into it."""

from __future__ import annotations

import asyncio
from datetime import datetime

from meshca.authority.material import SigningMaterial
from meshca.authority.upstream import Offer
from meshca.errors import MeshcaError


class FakeUpstream:
    """Implements `authority.upstream.Upstream`.

    Attributes:
        material: what is offered.
        renew_at: with it.
        error: raised instead, while it is set.
        asked: how often material was asked for.
    """

    def __init__(self, material: SigningMaterial, renew_at: datetime | None = None) -> None:
        self.material = material
        self.renew_at = renew_at
        self.error: MeshcaError | None = None
        self.asked = 0
        self._changed = asyncio.Event()

    def change(self, material: SigningMaterial | None = None, *, error: MeshcaError | None = None) -> None:
        """Offer other material, or an error, and say that something changed."""
        self.material = material or self.material
        self.error = error
        self._changed.set()

    async def obtain(self) -> Offer:
        """What the test put in."""
        self.asked += 1
        self._changed.clear()
        if self.error is not None:
            raise self.error
        return Offer(material=self.material, renew_at=self.renew_at)

    async def changed(self) -> None:
        """Return once `change` was called."""
        await self._changed.wait()
