"""Rotation: proven before it is published, the last good kept, tried again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import SigningMaterial, certificate_id, to_pem
from meshca.authority.upstream import Upstream
from meshca.config.upstream import SelfSignedConfig
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.rotation.driver import BACKOFF, Rotation
from meshca.rotation.standing import Standing
from meshca.upstream.self_signed import open_
from meshca.upstream.sound_root import root_of
from tests.fakes.clock import FakeClock
from tests.fakes.keystore import MemoryKeyStore
from tests.fakes.leaf_signer import FakeLeafSigner
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, TRUST_DOMAIN, ec_key, good_material, make_ca, material_of
from tests.fakes.rotation_rig import rig
from tests.fakes.upstream import FakeUpstream

ROOT = make_ca("root")
FIRST, SECOND = good_material(root=ROOT), good_material(root=ROOT)
BAD = replace(SECOND, key=ec_key())
OTHER_ROOT = good_material()
MORE_ROOTS = replace(SECOND, roots=(ROOT.certificate, make_ca("other").certificate))
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


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test."""
    return FakeClock()


@pytest.fixture
def published() -> Published:
    """What was published."""
    return Published()


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


class TestWithheld:
    """What signs is below a root that goes, and nothing else can be had."""

    def below(self, *materials: SigningMaterial) -> tuple[Record, ...]:
        """Their roots: the last one signs, those before are retired."""
        roots = [root_of(one) for one in materials]
        states = [*(State.RETIRED for _ in roots[1:]), State.ACTIVE]
        return tuple(
            Record(id=certificate_id(one), kind=Kind.ROOT, state=state, pem=to_pem(one), since=NOW)
            for one, state in zip(roots, states, strict=True)
        )

    async def test_nothing_is_signed_that_nobody_verifies(self, clock: FakeClock) -> None:
        """Workers are told once, with the bundle in force, and again when there is something to sign with."""
        told: list[Standing] = []

        async def publish(standing: Standing) -> None:
            told.append(standing)

        upstream, store = FakeUpstream(FIRST), FakeLifecycles(Lifecycle(generation=1, records=self.below(FIRST)))
        rotation = rig(upstream, clock, publish, store=store).rotation
        await rotation.start()
        store.lifecycle = Lifecycle(generation=9, records=self.below(FIRST, OTHER_ROOT))
        for _ in range(2):
            with pytest.raises(ConfigError, match="nothing signs below"):
                await rotation._turn()
        assert [bool(one.withheld) for one in told] == [False, True]
        assert told[-1].bundle == to_pem(root_of(OTHER_ROOT))
        assert (rotation.progress.slot, rotation.progress.serving) == (None, None)
        upstream.offer(FIRST, OTHER_ROOT)
        await rotation._turn()
        assert (told[-1].signer.certificate, told[-1].withheld) == (OTHER_ROOT.certificate, "")
        assert rotation.progress.slot is not None

    async def test_while_it_is_verified_the_last_good_goes_on(
        self, clock: FakeClock, published: Published
    ) -> None:
        """Whatever is wrong with the upstream."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        await rotation.start()
        upstream.change(error=DOWN)
        with pytest.raises(Unavailable):
            await rotation._turn()
        assert (published, rotation.progress.slot is None) == ([FIRST], False)


class TestRetry:
    """What happens after a failure."""

    async def test_pauses_double(self, clock: FakeClock, published: Published) -> None:
        """Attempts are repeated after 2, 4, 8 ... seconds, at most a minute apart."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            upstream.change(error=DOWN)
            asked = []
            for seconds in (0, 2, 4, 8, 16, 32, BACKOFF.ceiling, BACKOFF.ceiling):
                await clock.advance(seconds)
                asked.append(turns(upstream))
        assert asked == list(range(2, 10))

    async def test_jitter(self, clock: FakeClock, published: Published) -> None:
        """A pause may be any part of its length, but no less than the floor."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published, jitter=0.25)
        async with running(rotation):
            upstream.change(error=DOWN)
            await clock.advance(0)
            await clock.advance(BACKOFF.floor + 0.25)
            assert turns(upstream) == 3

    async def test_for_days(self, clock: FakeClock, published: Published) -> None:
        """Thousands of failures in a row do not end the driver."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published, jitter=0.0)
        async with running(rotation):
            rotation.progress = replace(rotation.progress, failing=5000)
            assert rotation._pause() == BACKOFF.floor
            rotation.progress = replace(rotation.progress, failing=0)

    async def test_not_published(self, clock: FakeClock, published: Published) -> None:
        """Material that could not be put in force is offered again."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            published.error = DOWN
            upstream.change(SECOND)
            await clock.advance(0)
            assert str(rotation.progress.error) == str(DOWN)
            published.error = None
            await clock.advance(2 * BACKOFF.floor)
        assert rotation.progress.error is None
        assert published == [FIRST, SECOND]


class TestLog:
    """What is said of failures."""

    async def test_once_for_each_cause(self, clock: FakeClock, published: Published) -> None:
        """A refusal is logged once however often it is repeated, and again when its cause changes or returns."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        with captured_logs() as logs:
            async with running(rotation):
                for change in (BAD, DOWN, SECOND, WORSE):
                    if isinstance(change, MeshcaError):
                        upstream.change(error=change)
                    else:
                        upstream.change(change)
                    await clock.advance(3 * BACKOFF.ceiling)
        reasons = [line["reason"] for line in logs if line["event"] == "signer.refused"]
        assert reasons == ["config", "test", "config"]
        assert rotation.progress.failures > len(reasons)


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


async def test_a_fault_of_the_upstream_is_not_hidden(clock: FakeClock, published: Published) -> None:
    """What an upstream must not raise ends the driver, which its owner logs, and is shown until it is over."""
    upstream = FakeUpstream(FIRST)
    rotation = rotation_of(upstream, clock, published)
    await rotation.start()

    async def broken() -> None:
        raise ZeroDivisionError

    upstream.changed = broken  # type: ignore[method-assign] # a broken upstream
    with captured_logs(), pytest.raises(ZeroDivisionError):
        await rotation.run()
    assert str(rotation.progress.error) == "upstream: unexpected ZeroDivisionError; see the log"
    del upstream.changed  # mended
    task = asyncio.create_task(rotation.run())
    await clock.advance(2 * BACKOFF.floor)
    task.cancel()
    assert rotation.progress.error is None


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
