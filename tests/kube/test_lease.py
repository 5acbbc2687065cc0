"""Leadership, on a clock that tests move; tests/e2e/kube/test_lease.py has real processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.api import Conflict
from meshca.kube.lease import Election, NotLeading, Record, Times, steady
from tests.fakes.clock import FakeClock
from tests.fakes.jitter import Jitter
from tests.fakes.logs import captured_logs

DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")


class FakeLease:
    """The lease itself, with compare-and-swap by candidate."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.version = 0

    def candidate(self) -> FakeLock:
        """A candidate's way to it."""
        return FakeLock(self)

    def write(self, record: Record) -> None:
        """Anybody's write."""
        self.record = record
        self.version += 1


class FakeLock:
    """Implements `kube.lease.Lock`."""

    def __init__(self, lease: FakeLease) -> None:
        self._lease = lease
        self._read = -1
        self.error: MeshcaError | None = None
        self.hanging: asyncio.Event | None = None

    async def read(self) -> Record:
        """As it is."""
        await self._answer()
        self._read = self._lease.version
        if self._lease.record is None:
            raise NotFound("kube_not_found", "home: get leases: not found")
        return self._lease.record

    async def create(self, record: Record) -> None:
        """If nobody did."""
        await self._answer()
        if self._lease.record is not None:
            raise Conflict("kube_conflict", "home: create leases: AlreadyExists")
        self._lease.write(record)

    async def update(self, record: Record) -> None:
        """If nobody did since."""
        await self._answer()
        if self._read != self._lease.version:
            raise Conflict("kube_conflict", "home: update leases: Conflict")
        self._lease.write(record)

    async def _answer(self) -> None:
        if self.hanging is not None:
            await self.hanging.wait()
        if self.error is not None:
            raise self.error


class Rig:
    """Two candidates on one clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lease = FakeLease()
        self.locks = [self.lease.candidate(), self.lease.candidate()]
        self.idle: set[str] = set()  # those that do not stand
        self.one, self.two = (
            Election(
                lock,
                name,
                self.clock,
                standing=lambda name=name: name not in self.idle,  # type: ignore[misc] # a default
                elapsed=self.clock.monotonic,
                rng=Jitter(0.0),
            )
            for name, lock in zip(("one", "two"), self.locks, strict=True)
        )

    @contextlib.asynccontextmanager
    async def running(self, *elections: Election) -> AsyncIterator[None]:
        """These stand for election inside the block."""
        tasks = [asyncio.create_task(election.run()) for election in elections]
        await self.clock.advance(0)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def rig() -> Rig:
    """Nobody leads yet."""
    return Rig()


def leaders(rig: Rig) -> list[bool]:
    """Who may write."""
    return [rig.one.leading(), rig.two.leading()]


async def test_one_of_two(rig: Rig) -> None:
    """The first to ask leads, for as long as it renews; the other knows whom it follows."""
    async with rig.running(rig.one, rig.two):
        for _ in range(100):
            assert leaders(rig) == [True, False]
            await rig.clock.advance(1)
        assert (rig.two.holder, rig.two.error) == ("one", None)


async def test_taken_over_after_its_end(rig: Rig) -> None:
    """A leader that is gone is followed by the other once its lease has not changed for its duration."""
    async with rig.running(rig.one):
        pass
    async with rig.running(rig.two):
        await rig.clock.advance(14)
        assert not rig.two.leading()
        await rig.clock.advance(3)
        assert rig.two.leading()
    assert rig.lease.record is not None
    assert (rig.lease.record.holder, rig.lease.record.transitions) == ("two", 1)


async def test_never_two(rig: Rig) -> None:
    """A leader that cannot renew stops before anybody else may begin."""
    async with rig.running(rig.one, rig.two):
        rig.locks[0].error = DOWN
        both = []
        for _ in range(300):
            await rig.clock.advance(0.1)
            both.append(leaders(rig))
        assert [True, True] not in both
        assert both[-1] == [False, True]


async def test_a_frozen_leader_is_fenced_before_it_asks(rig: Rig) -> None:
    """After a freeze it may not write, although it has heard of nothing yet."""
    async with rig.running(rig.one):
        rig.one.fence()
        rig.clock.move(10)  # nothing of this process ran meanwhile
        with pytest.raises(NotLeading):
            rig.one.fence()


async def test_age_counts_from_the_question(rig: Rig) -> None:
    """A renewal that was answered late is as old as its question."""
    async with rig.running(rig.one):
        rig.locks[0].hanging = asyncio.Event()
        await rig.clock.advance(9)  # asked at 2
        assert rig.one.leading()
        rig.locks[0].hanging.set()
        await rig.clock.advance(0)
        rig.locks[0].hanging = asyncio.Event()
        await rig.clock.advance(2.9)
        assert rig.one.leading()
        await rig.clock.advance(0.2)
        assert not rig.one.leading()


async def test_released(rig: Rig) -> None:
    """What is given back is taken at the next look."""
    async with rig.running(rig.one):
        await rig.one.release()
        assert rig.lease.record is not None
        assert rig.lease.record.holder == ""
        assert leaders(rig) == [False, False]
    async with rig.running(rig.two):
        assert leaders(rig) == [False, True]


async def test_release_takes_nothing_from_others(rig: Rig) -> None:
    """Who does not lead, or does not any more, gives nothing back."""
    async with rig.running(rig.one):
        await rig.two.release()
        rig.lease.write(Record(holder="two", duration=15, acquired=None, renewed=None))
        await rig.one.release()
    assert rig.lease.record is not None
    assert rig.lease.record.holder == "two"


async def test_release_does_not_hold_up_the_end(rig: Rig) -> None:
    """When the API server is gone the lease ends by itself."""
    async with rig.running(rig.one):
        rig.locks[0].error = DOWN
        await rig.one.release()
    assert not rig.one.leading()


async def test_both_at_the_same_moment(rig: Rig) -> None:
    """Of two that read the same state one wins, and the other does not call that an error."""
    record = Record(holder="", duration=1, acquired=None, renewed=None)
    rig.lease.write(record)
    async with rig.running(rig.one, rig.two):
        assert sorted(leaders(rig)) == [False, True]
        assert (rig.one.error, rig.two.error) == (None, None)


async def test_promise_of_no_duration(rig: Rig) -> None:
    """A foreign lease without a duration counts as long as ours."""
    rig.lease.write(Record(holder="x", duration=0, acquired=None, renewed=None))
    async with rig.running(rig.one):
        await rig.clock.advance(13)
        assert not rig.one.leading()
        await rig.clock.advance(4)
        assert rig.one.leading()


async def test_told_once(rig: Rig) -> None:
    """An outage is one line, and so is its end."""
    rig.locks[0].error = DOWN
    with captured_logs() as logs:
        async with rig.running(rig.one):
            await rig.clock.advance(20)
            assert rig.one.error is DOWN
            rig.locks[0].error = None
            await rig.clock.advance(20)
    assert [one["event"] for one in logs].count("lease.failed") == 1
    assert [one["event"] for one in logs].count("lease.recovered") == 1


async def test_work_while_leading(rig: Rig) -> None:
    """Work begins with leadership, ends with it, and begins again."""
    story: list[str] = []

    async def work() -> None:
        story.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            story.append("ended")

    async with rig.running(rig.one):
        working = asyncio.create_task(rig.one.while_leading(work))
        await rig.clock.advance(0)
        assert story == ["begun"]
        rig.locks[0].error = DOWN
        await rig.clock.advance(12)
        assert story == ["begun", "ended"]
        rig.locks[0].error = None
        await rig.clock.advance(3)
        assert story == ["begun", "ended", "begun"]
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert story == ["begun", "ended", "begun", "ended"]


async def test_work_that_fails(rig: Rig) -> None:
    """Its error is the caller's."""

    async def work() -> None:
        raise ValueError("broken")

    async with rig.running(rig.one):
        with pytest.raises(ValueError, match="broken"):
            await rig.one.while_leading(work)


def test_clock_of_the_fence() -> None:
    """It goes on while a process is stopped and while a machine sleeps."""
    assert steady() <= steady()


def test_deadline_is_below_the_duration() -> None:
    """The margin that makes the fence one."""
    times = Times()
    assert times.deadline + times.retry < times.duration


class TestStanding:
    """Who could not do the work."""

    async def test_first(self, rig: Rig) -> None:
        """One that comes first and does not stand makes no lease; the other leads at once, and it sees that."""
        rig.idle = {"one"}
        async with rig.running(rig.one):
            await rig.clock.advance(20)
            assert (rig.one.leading(), rig.one.holder, rig.one.error) == (False, "", None)
            async with rig.running(rig.two):
                assert rig.two.leading()
                await rig.clock.advance(20)
                assert (rig.one.leading(), rig.one.holder) == (False, "two")

    async def test_free(self, rig: Rig) -> None:
        """A lease that is free stays so until somebody stands, and is taken then."""
        async with rig.running(rig.two):
            assert rig.two.leading()
        await rig.two.release()
        rig.idle = {"one"}
        async with rig.running(rig.one):
            await rig.clock.advance(60)
            assert not rig.one.leading()
            rig.idle = set()
            await rig.clock.advance(3)
            assert rig.one.leading()
