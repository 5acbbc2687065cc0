"""A load counts every call, and one failed call fails it."""

from __future__ import annotations

import asyncio

import pytest

from meshca.app.demo import load
from meshca.app.demo.load import Call, Callers
from meshca.errors import InvariantBroken
from tests.fakes.echo_app import echo_app
from tests.fakes.hurried_clock import HurriedClock


def callers(call: Call, count: int = 2) -> Callers:
    """Callers that expect 200."""
    return Callers(name="web", call=call, expected=200, count=count)


async def test_every_call_is_counted() -> None:
    """What was made is what was answered."""
    made = 0
    enough = asyncio.Event()

    async def call() -> int:
        nonlocal made
        made += 1
        if made > 10:
            enough.set()
        return 200

    row = callers(call)
    async with load.calling(row, HurriedClock()):
        await enough.wait()
    row.none_failed()
    assert (row.answered, row.failed) == (made, 0)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (503, "web: 503, expected 200"),
        (ConnectionResetError("reset"), "web: ConnectionResetError: reset, expected 200"),
        (asyncio.IncompleteReadError(b"", 9), "web: IncompleteReadError: .*, expected 200"),
        (InvariantBroken("demo_peer", "a stranger"), "web: InvariantBroken: demo_peer: a stranger, expected 200"),
    ],
    ids=["status", "connection", "cut off", "other identity"],
)
async def test_a_failed_call_fails_the_load(outcome: int | Exception, message: str) -> None:
    """Whatever way it failed, and however many succeeded."""
    twice = asyncio.Event()
    row: Callers

    async def call() -> int:
        if row.failed:
            twice.set()
            return 200
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    row = callers(call, count=1)
    async with load.calling(row, HurriedClock()):
        await twice.wait()
    with pytest.raises(InvariantBroken, match=f"1 of {row.answered + 1} calls failed: {message}"):
        row.none_failed()


def test_a_load_without_calls_proves_nothing() -> None:
    """Zero of zero is a failure."""

    async def call() -> int:
        return 200

    with pytest.raises(InvariantBroken, match="no call was made"):
        callers(call).none_failed()


async def test_callers_end_when_the_block_fails() -> None:
    """Nobody goes on calling."""
    hanging = asyncio.Event()

    async def call() -> int:
        hanging.set()
        await asyncio.Event().wait()
        return 200

    async def fail() -> None:
        async with load.calling(callers(call), HurriedClock()):
            await hanging.wait()
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await fail()
    assert len(asyncio.all_tasks()) == 1


async def test_calls_through_a_loopback_port_give_the_status() -> None:
    """As an application's HTTP client does."""
    async with echo_app() as port, load.through_envoy(port, "/charges") as call:
        assert await call() == 200
