"""Facts about being told to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from meshca.app.stopping import Stopping


def send(which: signal.Signals) -> None:
    """A signal to this process."""
    os.kill(os.getpid(), which)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
async def test_first_asks_second_forces(which: signal.Signals) -> None:
    """The first signal asks, the second forces."""
    stopping = Stopping()
    with stopping.listening(lambda: None):
        send(which)
        await stopping.asked.wait()
        assert not stopping.forced.is_set()
        send(which)
        await stopping.forced.wait()


async def test_hangup_reloads() -> None:
    """SIGHUP reloads and stops nothing."""
    stopping, reloaded = Stopping(), asyncio.Event()
    with stopping.listening(reloaded.set):
        send(signal.SIGHUP)
        await reloaded.wait()
    assert not stopping.asked.is_set()


async def test_handlers_are_gone_afterwards() -> None:
    """After the block the signals are Python's own again."""
    with Stopping().listening(lambda: None):
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_work_that_ends_first() -> None:
    """Work that ends before a signal gives its result."""

    async def work() -> int:
        return 7

    assert await Stopping().unless_asked(work()) == 7


async def test_work_that_a_signal_ends() -> None:
    """Work that a signal overtakes is cancelled and has no result."""
    stopping, cancelled = Stopping(), asyncio.Event()

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 7

    stopping.asked.set()
    stopping.forced.set()
    assert await stopping.unless_asked(work()) is None
    assert await stopping.unless_forced(work()) is None
    assert cancelled.is_set()


async def test_work_that_fails() -> None:
    """An error of the work is the caller's."""

    async def work() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        await Stopping().unless_asked(work())
