"""Renewal by time: when the upstream named it, and whatever the wall clock does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from meshca.config.upstream import SelfSignedConfig
from meshca.upstream.self_signed import open_
from tests.fakes.clock import FakeClock
from tests.fakes.keystore import MemoryKeyStore
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, make_ca, material_of
from tests.fakes.upstream import FakeUpstream
from tests.rotation.driving import (
    FIRST,
    ROOT,
    SECOND,
    Published,
    rotation_of,
    running,
    turns,
)


class TestHalfLife:
    """Renewal by time."""

    async def test_renewed(self, clock: FakeClock, published: Published) -> None:
        """At the time that the upstream named it is asked again."""
        upstream = FakeUpstream(FIRST, renew_at=NOW + 15 * DAY)
        async with running(rotation_of(upstream, clock, published)):
            upstream.offer(SECOND)
            await clock.advance((15 * DAY).total_seconds() - 1)
            assert turns(upstream) == 1
            upstream.renew_at = NOW + 30 * DAY
            await clock.advance(1)
        assert (published, turns(upstream)) == ([FIRST, SECOND], 2)

    async def test_nothing_newer(self, clock: FakeClock, published: Published) -> None:
        """An upstream that is due and says neither why nor until when is asked once in a second."""
        upstream = FakeUpstream(FIRST, renew_at=NOW - DAY)
        async with running(rotation_of(upstream, clock, published)):
            await clock.advance(10)
        assert turns(upstream) == 1 + 10

    async def test_clock_set_forward(self, clock: FakeClock, published: Published) -> None:
        """A wall clock that jumped is noticed within a minute."""
        upstream = FakeUpstream(FIRST, renew_at=NOW + 15 * DAY)
        async with running(rotation_of(upstream, clock, published)):
            await clock.advance(1)
            clock._now += timedelta(days=20)
            upstream.renew_at = None
            await clock.advance(60)
            assert turns(upstream) == 2

    async def test_clock_set_back(self, clock: FakeClock, published: Published) -> None:
        """What begins after the present instant is asked for anew within a minute, and once is enough."""
        ahead = make_ca("ahead", ROOT, begin=NOW - timedelta(minutes=2))
        upstream = FakeUpstream(material_of(ahead, roots=[ROOT]), renew_at=NOW + 15 * DAY)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            await clock.advance(1)
            clock._now -= timedelta(hours=1)
            upstream.offer(FIRST)
            await clock.advance(60)
            assert (published[1:], turns(upstream), rotation.progress.error) == ([FIRST], 2, None)
            await clock.advance(600)
            assert turns(upstream) == 2

    async def test_clock_set_back_without_other_material(self, clock: FakeClock, published: Published) -> None:
        """An upstream that has nothing else is asked until the clock is right; nothing is an error then."""
        ahead = make_ca("ahead", ROOT, begin=NOW - timedelta(minutes=2))
        upstream = FakeUpstream(material_of(ahead, roots=[ROOT]))
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            clock._now -= timedelta(hours=1)
            await clock.advance(120)
            assert turns(upstream) == 3
            clock._now += timedelta(hours=1)
            await clock.advance(600)
            assert (turns(upstream), len(published)) == (3, 1)

    async def test_never(self, clock: FakeClock, published: Published) -> None:
        """Without a time the upstream is left alone."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await clock.advance(100 * 3600)
            assert turns(upstream) == 1

    async def test_self_signed(self, clock: FakeClock, published: Published, tmp_path: Path) -> None:
        """A self-signed CA is renewed every fortnight under the same root, for months."""
        opened = open_(
            SelfSignedConfig(), data_dir=tmp_path, keys=MemoryKeyStore(), trust_domain=TRUST_DOMAIN, clock=clock
        )
        async with opened as upstream, running(rotation_of(upstream, clock, published)):
            await clock.advance((90 * DAY).total_seconds())
        assert (len(published), len({material.root_set for material in published})) == (7, 1)

    async def test_self_signed_under_a_clock_that_was_ahead(
        self, clock: FakeClock, published: Published, tmp_path: Path
    ) -> None:
        """A self-signed CA that was renewed too early signs within a minute of the clock being set right."""
        opened = open_(
            SelfSignedConfig(), data_dir=tmp_path, keys=MemoryKeyStore(), trust_domain=TRUST_DOMAIN, clock=clock
        )
        async with opened as upstream, running(rotation_of(upstream, clock, published)):
            clock._now += 16 * DAY
            await clock.advance(60)
            clock._now -= 16 * DAY
            await clock.advance(60)
            begins = [material.certificate.not_valid_before_utc for material in published]
        assert (len(begins), begins[1] > NOW + 15 * DAY, begins[2] < NOW + DAY) == (3, True, True)
        assert len({material.root_set for material in published}) == 1
