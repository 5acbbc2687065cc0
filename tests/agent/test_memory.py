"""Giving memory back."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes

import pytest

from meshca.agent import memory
from tests.fakes.clock import FakeClock


async def test_memory_is_given_back_soon_after_the_start_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the clock that is given."""
    clock = FakeClock()
    moments: list[float] = []
    monkeypatch.setattr(memory, "give_back", lambda: moments.append(clock.monotonic()))
    task = asyncio.create_task(memory.keep_small(clock))
    await clock.advance(650)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert moments == [0.5, 2.0, 302.0, 602.0]


def test_a_c_library_without_trimming_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only glibc has it."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    memory.give_back()


def test_trimming_can_be_done_at_any_time() -> None:
    """It changes nothing that is in use."""
    memory.give_back()
