"""Rotation: the first material and each change of it, proven before it is published."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from meshca.authority.material import SigningMaterial
from meshca.errors import ConfigError, Unavailable
from meshca.rotation.driver import BACKOFF
from tests.fakes.clock import FakeClock
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.pki import NOW, make_ca, material_of
from tests.fakes.upstream import FakeUpstream
from tests.rotation.driving import (
    BAD,
    DOWN,
    FIRST,
    OTHER_ROOT,
    ROOT,
    SECOND,
    Published,
    rotation_of,
    running,
    turns,
)

MORE_ROOTS = replace(SECOND, roots=(ROOT.certificate, make_ca("other").certificate))


class TestStart:
    """`start`: the first material."""

    async def test_published(self, clock: FakeClock, published: Published) -> None:
        """The first material is published and told."""
        rotation = rotation_of(FakeUpstream(FIRST), clock, published)
        await rotation.start()
        assert (published, rotation.progress.published, rotation.progress.error) == ([FIRST], 1, None)

    async def test_not_to_be_used(self, clock: FakeClock, published: Published) -> None:
        """What the operator got wrong stops the start."""
        upstream = FakeUpstream(FIRST)
        upstream.change(error=ConfigError("files", ["bad"]))
        with pytest.raises(ConfigError):
            await rotation_of(upstream, clock, published).start()
        assert published == []

    async def test_not_to_be_had(self, clock: FakeClock, published: Published) -> None:
        """What cannot be had now is waited for, as long as it takes, and why is told meanwhile."""
        upstream = FakeUpstream(FIRST)
        upstream.change(error=DOWN)
        rotation = rotation_of(upstream, clock, published)
        task = asyncio.create_task(rotation.start())
        await clock.advance(3600)
        assert not task.done()
        assert str(rotation.progress.error) == str(DOWN)
        assert turns(upstream) > 3600 / BACKOFF.ceiling
        upstream.error = None
        await clock.advance(BACKOFF.ceiling)
        assert task.done()
        assert (published, rotation.progress.error, rotation.progress.failing) == ([FIRST], None, 0)

    async def test_had_at_once(self, clock: FakeClock, published: Published) -> None:
        """When the upstream tells of a change meanwhile, it is asked at once."""
        upstream = FakeUpstream(FIRST)
        upstream.change(error=DOWN)
        task = asyncio.create_task(rotation_of(upstream, clock, published).start())
        await clock.advance(0)
        await clock.advance(0)
        upstream.change()
        await clock.advance(0)
        assert (task.done(), published) == (True, [FIRST])

    async def test_wrong_once_it_is_there(self, clock: FakeClock, published: Published) -> None:
        """What was waited for and then cannot be used stops the start."""
        upstream = FakeUpstream(FIRST)
        upstream.change(error=DOWN)
        task = asyncio.create_task(rotation_of(upstream, clock, published).start())
        await clock.advance(0)
        upstream.change(BAD)
        await clock.advance(0)
        with pytest.raises(ConfigError):
            await task

    async def test_unproven(self, clock: FakeClock, published: Published) -> None:
        """Material that does not prove itself is never published."""
        with pytest.raises(ConfigError, match="not its own"):
            await rotation_of(FakeUpstream(BAD), clock, published).start()
        assert published == []


class TestChange:
    """What happens when the upstream changes."""

    async def test_new_signer(self, clock: FakeClock, published: Published) -> None:
        """A new signer under the same roots is published at once."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            upstream.change(SECOND)
            await clock.advance(0)
        assert (published, rotation.progress.published) == ([FIRST, SECOND], 2)

    async def test_nothing_new(self, clock: FakeClock, published: Published) -> None:
        """A change that changes nothing publishes nothing."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            upstream.change(FIRST)
            await clock.advance(0)
        assert (published, turns(upstream)) == ([FIRST], 2)

    @pytest.mark.parametrize(
        ("material", "problem"),
        [
            pytest.param(BAD, "not its own", id="unproven"),
        ],
    )
    async def test_refused(
        self, clock: FakeClock, published: Published, material: SigningMaterial, problem: str
    ) -> None:
        """Bad material is refused and told; the last good goes on."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            upstream.change(material)
            await clock.advance(0)
        assert published == [FIRST]
        assert (rotation.progress.failures, rotation.progress.failing) == (1, 1)
        assert problem in str(rotation.progress.error)

    async def test_mended(self, clock: FakeClock, published: Published) -> None:
        """After a refusal the next good material is taken at once and the error is gone."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            upstream.change(BAD)
            await clock.advance(0)
            upstream.change(SECOND)
            await clock.advance(0)
        assert published == [FIRST, SECOND]
        assert (rotation.progress.failures, rotation.progress.failing, rotation.progress.error) == (1, 0, None)

    async def test_put_back(self, clock: FakeClock, published: Published) -> None:
        """After a refusal, the return of what is in force clears the error and publishes nothing."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            upstream.change(BAD)
            await clock.advance(0)
            upstream.change(FIRST)
            await clock.advance(0)
        assert (published, rotation.progress.error) == ([FIRST], None)


def test_material_is_what_it_says() -> None:
    """The material of these tests differs as the tests need it."""
    assert len({FIRST.fingerprint, SECOND.fingerprint, OTHER_ROOT.fingerprint, MORE_ROOTS.fingerprint}) == 4
    assert material_of(ROOT, roots=[ROOT]).root_set == FIRST.root_set == SECOND.root_set


async def test_when_whoever_signs_was_there(clock: FakeClock, published: Published) -> None:
    """As the upstream tells it."""
    upstream = FakeUpstream(FIRST)
    rotation = rotation_of(upstream, clock, published)
    assert rotation.reached_at is None
    upstream.reached_at = NOW
    assert rotation.reached_at == NOW


async def test_why_no_leaf_was_given(clock: FakeClock, published: Published) -> None:
    """As whoever signs leaves in our place tells it; where nobody does there is nothing to tell."""
    upstream = FakeUpstream(FIRST)
    rotation = rotation_of(upstream, clock, published)
    assert rotation.leaf_problem is None
    upstream.leaves = leaves = FakeLeafSigner(ROOT, clock)
    leaves.judged("web", Unavailable("leaf_answer", "it is a CA"))
    assert rotation.leaf_problem is leaves.problem
