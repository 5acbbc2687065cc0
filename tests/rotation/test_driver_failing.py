"""What the driver does after a failure: asks again, says so once; the last good goes on."""

from __future__ import annotations

import asyncio

import pytest

from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import State
from meshca.authority.material import SigningMaterial, certificate_id, to_pem
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.rotation.driver import BACKOFF
from meshca.rotation.standing import Standing
from meshca.upstream.sound_root import root_of
from tests.fakes.clock import FakeClock
from tests.fakes.lifecycle_store import FakeLifecycles
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW
from tests.fakes.rotation_rig import rig
from tests.fakes.upstream import FakeUpstream
from tests.rotation.driving import (
    BAD,
    DOWN,
    FIRST,
    OTHER_ROOT,
    SECOND,
    WORSE,
    Published,
    rotation_of,
    running,
)


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
