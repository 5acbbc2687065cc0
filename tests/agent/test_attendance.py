"""For how long Envoys are waited for that may come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.agent.attendance import RECORD, RETURN_SECONDS, SOON_SECONDS, Attendance
from meshca.agent.state import State
from tests.fakes.clock import FakeClock


class Scene:
    """An agent's life; the next one finds what this one has kept."""

    def __init__(self, folder: Path | None) -> None:
        self.clock = FakeClock()
        self.told: list[float] = []
        self._state = State(folder) if folder else None
        self.attendance = self.restarted()

    def restarted(self) -> Attendance:
        """A life that begins now."""
        self.attendance = Attendance(self.clock, self._state)
        return self.attendance

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With somebody who is told when a wait is over."""
        task = asyncio.create_task(self.attendance.run(lambda: self.told.append(self.clock.monotonic())))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def waits(self, seconds: float) -> bool:
        """Whether exactly so long is waited, from now."""
        before = self.attendance.missing
        self.clock.move(seconds - 0.1)
        almost = self.attendance.missing
        self.clock.move(0.1)
        return before and almost and not self.attendance.missing


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """An agent's first day."""
    return Scene(tmp_path / "state")


@pytest.mark.parametrize("remembers", [True, False])
def test_a_first_start_waits_a_moment(remembers: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a row's part
    """One that has never had an Envoy holds nothing up for long."""
    assert Scene(tmp_path if remembers else None).waits(SOON_SECONDS)


def test_who_comes_ends_the_first_wait(scene: Scene) -> None:
    """It is here to answer for itself."""
    scene.attendance.count(1)
    assert not scene.attendance.missing


def test_who_was_here_before_a_restart_is_waited_for(scene: Scene) -> None:
    """Longer, and until every name is asked for that was asked for before."""
    scene.attendance.count(3)
    scene.restarted()
    scene.attendance.count(2)
    assert scene.attendance.missing
    scene.attendance.count(3)
    assert not scene.attendance.missing


def test_nobody_is_waited_for_without_end(scene: Scene) -> None:
    """After a restart as long as Envoy's own pauses may be."""
    scene.attendance.count(3)
    scene.restarted()
    assert scene.waits(RETURN_SECONDS)


def test_who_leaves_is_waited_for_a_moment(scene: Scene) -> None:
    """It may only connect anew."""
    scene.attendance.count(3)
    scene.clock.move(100)
    scene.attendance.count(2)
    assert scene.waits(SOON_SECONDS)


def test_who_comes_and_goes_lengthens_no_wait(scene: Scene) -> None:
    """Or an Envoy that dies again and again would hold a gate for ever."""
    scene.attendance.count(3)
    scene.clock.move(100)
    scene.attendance.count(0)
    scene.clock.move(SOON_SECONDS / 2)
    scene.attendance.count(3)
    scene.attendance.count(0)
    assert scene.waits(SOON_SECONDS / 2)


async def test_the_end_of_each_wait_is_told(scene: Scene) -> None:
    """Of the first, and of the one after somebody has left."""
    async with scene.running():
        await scene.clock.advance(SOON_SECONDS)
        scene.attendance.count(3)
        await scene.clock.advance(10)
        scene.attendance.count(2)
        await scene.clock.advance(SOON_SECONDS)
        assert scene.told == [SOON_SECONDS, 2 * SOON_SECONDS + 10]


async def test_who_is_gone_for_good_is_not_expected_again(scene: Scene) -> None:
    """Neither in this life nor in the next."""
    scene.attendance.count(3)
    scene.restarted()
    async with scene.running():
        scene.attendance.count(1)
        await scene.clock.advance(RETURN_SECONDS)
    scene.restarted().count(1)
    assert not scene.attendance.missing


async def test_an_agent_that_ends_expects_all_back(scene: Scene) -> None:
    """Its own end closes their streams; that none came back by then says nothing."""
    scene.attendance.count(3)
    async with scene.running():
        await scene.clock.advance(100)
        scene.attendance.count(0)
    scene.restarted().count(2)
    assert scene.attendance.missing


@pytest.mark.parametrize("names", ["", "-1", "1e3", "1234567", "²"])
def test_a_damaged_count_is_none(names: str, tmp_path: Path) -> None:
    """As on the first day."""
    State(tmp_path).save(RECORD, {"names": names})
    assert Scene(tmp_path).waits(SOON_SECONDS)


def test_a_record_without_a_count_is_none(tmp_path: Path) -> None:
    """As on the first day."""
    State(tmp_path).save(RECORD, {"others": "3"})
    assert Scene(tmp_path).waits(SOON_SECONDS)
