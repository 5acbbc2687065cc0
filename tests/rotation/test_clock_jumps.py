"""The wall clock jumps an hour, either way, at each step of a rotation: no gate opens or stays shut."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.authority.lifecycle import State
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.rotation_stage import ANNA, Stage, running

HOUR = timedelta(hours=1)
WINDOW = timedelta(seconds=20)
SOON = 3.0  # seconds: while a root is on its way the driver looks every second
AT_LAST = 60.0  # the longest pause after a failure: by a clock that is behind what was just made is not valid yet
EITHER_WAY = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["ahead", "back"])


async def jumped(stage: Stage, jump: timedelta) -> None:
    """Set the wall clock, and give the driver the time to notice."""
    stage.clock._now += jump
    await stage.turn(SOON)


@EITHER_WAY
async def test_while_distributing(jump: timedelta) -> None:
    """Who does not trust the new root holds it; adopted, it signs once the clock is right."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn()
        await jumped(stage, jump)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        await jumped(stage, -jump)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(AT_LAST)
        assert stage.states == [State.RETIRING, State.ACTIVE]


@EITHER_WAY
async def test_while_retiring(jump: timedelta) -> None:
    """Who holds a leaf below the old root keeps it trusted; replaced, it is retired."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(SOON)
        await jumped(stage, jump)
        assert stage.states == [State.RETIRING, State.ACTIVE]
        await jumped(stage, -jump)
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(AT_LAST)
        assert stage.states == [State.RETIRED, State.ACTIVE]


@EITHER_WAY
async def test_before_a_rotation(jump: timedelta) -> None:
    """Nothing begins, and the root that signs goes on; a rotation that is then asked for ends."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        stage.everybody(trusts=1, signers=(0,))
        await jumped(stage, jump)
        assert stage.states == [State.ACTIVE]
        await jumped(stage, -jump)
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(SOON)
        assert stage.states == [State.RETIRED, State.ACTIVE]


async def test_a_window_and_a_clock_that_jumps_ahead() -> None:
    """The window of a compromised root is over when the clock says so: there security wins."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        await compromised(stage)
        await jumped(stage, HOUR)
        assert stage.states == [State.RETIRED, State.ACTIVE]


async def test_a_window_and_a_clock_that_jumps_back() -> None:
    """The root is trusted until its leaves are replaced, however long the clock says that it has left."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        await compromised(stage)
        await jumped(stage, -HOUR)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        await jumped(stage, HOUR)
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(AT_LAST)
        assert stage.states == [State.RETIRED, State.ACTIVE]


async def test_a_window_and_a_clock_that_is_set_right() -> None:
    """An hour back and an hour ahead again: the window is as long as it was."""
    stage = Stage(FakeClock(NOW))
    async with running(stage):
        await compromised(stage)
        await jumped(stage, -HOUR)
        await jumped(stage, HOUR)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        await stage.turn(AT_LAST)
        assert stage.states == [State.RETIRED, State.ACTIVE]


async def compromised(stage: Stage) -> None:
    """A rotation of a stolen root whose leaves are still in use."""
    stage.everybody(trusts=1, signers=(0,))
    await stage.acts.rotate(ANNA, compromised=True, window=WINDOW)
    stage.everybody(trusts=2, signers=(0,))
    await stage.turn()
    assert stage.states == [State.TAINTED, State.ACTIVE]
