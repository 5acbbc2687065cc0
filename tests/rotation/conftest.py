"""A driver that runs, and steppers whose steps are taken one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.rotation_stage import Stage, running
from tests.fakes.stepper_scene import Scene
from tests.rotation.driving import Published


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A CA with one root that runs."""
    async with running(Stage(FakeClock(NOW))) as made:
        yield made


@pytest.fixture
async def scene() -> Scene:
    """One root is active."""
    made = Scene()
    await made.adopt()
    return made


@pytest.fixture
async def theirs() -> Scene:
    """The same, and an operator says which roots there are."""
    made = Scene(plugged_in=True)
    await made.adopt()
    return made


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test."""
    return FakeClock()


@pytest.fixture
def published() -> Published:
    """What was published."""
    return Published()


@pytest.fixture
def judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread judges what is seen in Vault: the fake clock waits for none."""

    async def at_once(judge: Callable[..., object], *given: object, **named: object) -> object:
        return judge(*given, **named)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
