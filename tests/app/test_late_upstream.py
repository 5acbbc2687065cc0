"""Facts about an upstream that is opened late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshca.app.late_upstream import late_upstream
from meshca.authority.upstream import Upstream
from meshca.errors import MeshcaError, Unavailable
from tests.fakes.pki import good_material
from tests.fakes.upstream import FakeUpstream

MATERIAL = good_material()


class Opener:
    """Opens an upstream, or fails while `error` is set."""

    def __init__(self) -> None:
        self.error: MeshcaError | None = None
        self.upstream = FakeUpstream(MATERIAL)
        self.history: list[str] = []

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[Upstream]:
        """Open."""
        if self.error is not None:
            self.history.append("failed")
            raise self.error
        self.history.append("opened")
        yield self.upstream
        self.history.append("closed")


async def test_opened_once() -> None:
    """It is opened when it is first asked, once, and closed at the end."""
    opener = Opener()
    async with late_upstream(opener) as upstream:
        assert opener.history == []
        for _ in range(2):
            assert (await upstream.obtain()).material is MATERIAL
        assert opener.history == ["opened"]
    assert opener.history == ["opened", "closed"]


async def test_opened_again_after_a_failure() -> None:
    """What cannot be opened is opened at the next attempt; nothing of the failed one has to be closed."""
    opener = Opener()
    opener.error = Unavailable("test", "down")
    async with late_upstream(opener) as upstream:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await upstream.obtain()
        opener.error = None
        await upstream.obtain()
    assert opener.history == ["failed", "failed", "opened", "closed"]


async def test_changes() -> None:
    """A change is told once it is open, and none before."""
    opener = Opener()
    async with late_upstream(opener) as upstream:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.changed(), 0)
        await upstream.obtain()
        opener.upstream.change()
        await asyncio.wait_for(upstream.changed(), 1)
