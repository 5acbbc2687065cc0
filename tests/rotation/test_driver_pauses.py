"""How long the driver pauses after a failure: ever longer while it is the same one, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.rotation.driver import BACKOFF, LONGEST_SLEEP_SECONDS, STEP_SECONDS
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.rotation_stage import ANNA, Stage
from tests.fakes.upstream import FakeUpstream
from tests.rotation.driving import DOWN, FIRST, Published, rotation_of, running, turns

DOUBLING = (2, 4, 8, 16, 32, BACKOFF.ceiling, BACKOFF.ceiling)
SEALED = Unavailable("vault_sealed", "the server is sealed")
Fail = Callable[[FakeUpstream, MeshcaError | None], None]


def raised(upstream: FakeUpstream, error: MeshcaError | None) -> None:
    """There are no lines."""
    upstream.error = error


def told(upstream: FakeUpstream, error: MeshcaError | None) -> None:
    """There are lines that are good, and a problem beside them."""
    upstream.problem = error


async def taken(upstream: FakeUpstream, clock: FakeClock, *pauses: float) -> list[int]:
    """How many turns each pause brought."""
    found = []
    for pause in pauses:
        before = turns(upstream)
        await clock.advance(pause)
        found.append(turns(upstream) - before)
    return found


async def fails(upstream: FakeUpstream, clock: FakeClock, fail: Fail, error: MeshcaError) -> None:
    """Something goes wrong, which is noticed at once."""
    upstream.change()
    fail(upstream, error)
    assert await taken(upstream, clock, 0) == [1]


@pytest.mark.parametrize("fail", [raised, told])
class TestPauses:
    """Whether the upstream has no lines, or tells a problem beside good ones."""

    async def test_double(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """Attempts are repeated after 2, 4, 8 ... seconds, at most a minute apart."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, fail, DOWN)
            assert await taken(upstream, clock, *DOUBLING) == [1] * len(DOUBLING)

    async def test_not_sooner(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """Until a pause is over nothing is asked."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, fail, DOWN)
            await taken(upstream, clock, *DOUBLING)
            assert await taken(upstream, clock, BACKOFF.ceiling - 1) == [0]

    async def test_other_words(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """The same problem with other details is the same: some tell the time."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, fail, DOWN)
            for pause in DOUBLING:
                fail(upstream, Unavailable(DOWN.reason, f"down at {clock.monotonic()}"))
                assert await taken(upstream, clock, pause) == [1]

    async def test_another_problem(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """Another problem is a first one."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, fail, DOWN)
            await taken(upstream, clock, *DOUBLING)
            fail(upstream, SEALED)
            assert await taken(upstream, clock, BACKOFF.ceiling, *DOUBLING[:3]) == [1] * 4

    async def test_none(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """Once all was well the next problem is a first one."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            await fails(upstream, clock, fail, DOWN)
            await taken(upstream, clock, *DOUBLING)
            fail(upstream, None)
            assert await taken(upstream, clock, BACKOFF.ceiling) == [1]
            assert (rotation.progress.failing, rotation.progress.error) == (0, None)
            await fails(upstream, clock, fail, DOWN)
            assert await taken(upstream, clock, *DOUBLING[:3]) == [1] * 3

    async def test_whoever_acts_does_not_wait(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """What was committed here, and what changes in the upstream, have their turn at once."""
        upstream = FakeUpstream(FIRST)
        rotation = rotation_of(upstream, clock, published)
        async with running(rotation):
            await fails(upstream, clock, fail, DOWN)
            await taken(upstream, clock, *DOUBLING)
            rotation.wake()
            assert await taken(upstream, clock, 0) == [1]
            upstream.change(error=upstream.error)
            assert await taken(upstream, clock, 0) == [1]

    async def test_jitter(self, clock: FakeClock, published: Published, fail: Fail) -> None:
        """A pause may be any part of its length, but no less than the floor."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published, jitter=0.25)):
            await fails(upstream, clock, fail, DOWN)
            assert await taken(upstream, clock, BACKOFF.floor + 0.2, 0.1) == [0, 1]


async def test_for_days(clock: FakeClock, published: Published) -> None:
    """Thousands of failures in a row do not end the driver."""
    upstream = FakeUpstream(FIRST)
    rotation = rotation_of(upstream, clock, published, jitter=0.0)
    async with running(rotation):
        rotation.progress = replace(rotation.progress, failing=5000)
        assert rotation._pause() == BACKOFF.floor
        rotation.progress = replace(rotation.progress, failing=0)


class TestDue:
    """A renewal, while a problem is told."""

    async def test_overdue(self, clock: FakeClock, published: Published) -> None:
        """One that is due, and not given for a reason that is told, is asked for ever more rarely."""
        upstream = FakeUpstream(FIRST, renew_at=NOW - timedelta(days=1))
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, told, DOWN)
            assert await taken(upstream, clock, *DOUBLING) == [1] * len(DOUBLING)

    async def test_to_come(self, clock: FakeClock, published: Published) -> None:
        """One that will be due is asked for when it is."""
        upstream = FakeUpstream(FIRST)
        async with running(rotation_of(upstream, clock, published)):
            await fails(upstream, clock, told, DOWN)
            await taken(upstream, clock, *DOUBLING)
            upstream.renew_at = clock.now() + timedelta(seconds=LONGEST_SLEEP_SECONDS + 10)
            assert await taken(upstream, clock, LONGEST_SLEEP_SECONDS, 9, 1) == [1, 0, 1]


class TestUnderWay:
    """A rotation that is under way."""

    async def looks(self, stage: Stage, fail: Fail) -> list[int]:
        """How many turns so many steps bring, once a problem is old."""
        stage.everybody(trusts=1, signers=(0,))  # who does not trust the new root yet
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn()
        assert stage.rig.rotation.pressing
        await fails(stage.upstream, stage.clock, fail, ConfigError("upstream", ["a stranger"]))
        await stage.turn(10 * BACKOFF.ceiling)
        return await taken(stage.upstream, stage.clock, *[STEP_SECONDS] * 5)

    async def test_beside_a_problem(self, stage: Stage) -> None:
        """A problem that is told beside good lines does not slow it down: its gates are looked at as ever."""
        assert await self.looks(stage, told) == [1] * 5

    async def test_without_lines(self, stage: Stage) -> None:
        """Without lines no step can be taken, so that nobody asks for them any more often."""
        assert sum(await self.looks(stage, raised)) <= 1
