"""Facts about an upstream that is opened late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshca.app.late_upstream import late_upstream
from meshca.authority.material import certificate_id
from meshca.authority.upstream import Upstream
from meshca.errors import ConfigError, MeshcaError, Refused, Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.upstream import FakeUpstream, first_offer

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
        await asyncio.sleep(0)
        self.history.append("opened")
        yield self.upstream
        self.history.append("closed")


async def test_opened_once() -> None:
    """It is opened when it is first asked, once, and closed at the end."""
    opener = Opener()
    async with late_upstream(opener) as upstream:
        assert opener.history == []
        for _ in range(2):
            assert (await first_offer(upstream)).material is MATERIAL
        assert opener.history == ["opened"]
    assert opener.history == ["opened", "closed"]


async def test_opened_again_after_a_failure() -> None:
    """What cannot be opened is opened at the next attempt; nothing of the failed one has to be closed."""
    opener = Opener()
    opener.error = Unavailable("test", "down")
    async with late_upstream(opener) as upstream:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await upstream.lines()
        opener.error = None
        await upstream.lines()
    assert opener.history == ["failed", "failed", "opened", "closed"]


async def test_changes() -> None:
    """A change is told once it is open, and none before."""
    opener = Opener()
    async with late_upstream(opener) as upstream:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.changed(), 0)
        await upstream.lines()
        opener.upstream.change()
        await asyncio.wait_for(upstream.changed(), 1)


async def test_problem() -> None:
    """What cannot be used is told as the upstream tells it, and nothing before it is open."""
    opener = Opener()
    opener.upstream.problem = ConfigError("test", ["damaged"])
    async with late_upstream(opener) as upstream:
        assert upstream.problem is None
        await upstream.lines()
        assert upstream.problem is opener.upstream.problem


async def test_when_it_was_reached() -> None:
    """As the upstream tells it, and never before it is open."""
    opener = Opener()
    opener.upstream.reached_at = NOW
    leaves = opener.upstream.leaves = FakeLeafSigner(make_ca("root"), FakeClock())
    async with late_upstream(opener) as upstream:
        assert (upstream.reached_at, upstream.leaves) == (None, None)
        await upstream.lines()
        assert upstream.reached_at == NOW
        assert upstream.leaves is leaves


async def test_roots() -> None:
    """Roots are made and forgotten by the upstream; whichever is asked first opens it."""
    for first in range(2):
        opener = Opener()
        async with late_upstream(opener) as upstream:
            if first:
                await upstream.forget(opener.upstream.materials)
            made = await upstream.make_root()
            await upstream.forget({certificate_id(made.root)})
            assert [line.root for line in await upstream.lines()] == [made.root]
            assert opener.history == ["opened"]


async def test_same_key_is_passed_on() -> None:
    """Whose key is used again is said to the upstream."""
    async with late_upstream(Opener()) as upstream:
        with pytest.raises(Refused, match="no root ffff"):
            await upstream.make_root(same_key="ffff")


async def test_asked_twice_at_once() -> None:
    """However many ask at once, it is opened once."""
    opener = Opener()
    async with late_upstream(opener) as upstream:
        await asyncio.gather(upstream.lines(), upstream.make_root(), upstream.lines())
        assert opener.history == ["opened"]
