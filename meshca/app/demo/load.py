"""Callers that go on calling while certificates are renewed below them, and count every answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from meshca.clock import Clock
from meshca.errors import InvariantBroken, MeshcaError

_SECONDS = 10.0
_PAUSE = 0.002  # seconds between two calls of one caller; the machine also runs the CA, agents and Envoys
_KEPT = 3  # failures that are remembered in words

Call = Callable[[], Awaitable[int]]


@dataclass(slots=True, kw_only=True)
class Callers:
    """Some callers that make the same call, and what they saw.

    Attributes:
        name: of the call, for messages.
        call: makes it once; the status of the answer.
        expected: the status that every answer must have.
        count: how many call at the same time.
        answered: calls that were answered so.
        failed: calls that were not.
        failures: the first few of them, in words.
    """

    name: str
    call: Call
    expected: int
    count: int
    answered: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: int | str) -> None:
        """Count one call: the status, or what prevented an answer."""
        if outcome == self.expected:
            self.answered += 1
            return
        self.failed += 1
        if len(self.failures) < _KEPT:
            self.failures.append(f"{self.name}: {outcome}, expected {self.expected}")

    def none_failed(self) -> None:
        """Go on only when every call was answered as expected, and there was one.

        Raises:
            InvariantBroken: reason `demo_load`, with the first failures.
        """
        if self.failed or not self.answered:
            first = "; ".join(self.failures) or f"{self.name}: no call was made"
            raise InvariantBroken(
                "demo_load", f"{self.failed} of {self.failed + self.answered} calls failed: {first}"
            )


@contextlib.asynccontextmanager
async def calling(callers: Callers, clock: Clock) -> AsyncIterator[None]:
    """Call again and again until the end of the block; calls in flight then are answered before it returns."""
    ending = asyncio.Event()
    tasks = [asyncio.create_task(_go_on(callers, ending, clock)) for _ in range(callers.count)]
    try:
        yield
        ending.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def through_envoy(port: int, path: str) -> AsyncIterator[Call]:
    """Calls through the plain loopback port of an Envoy."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def call() -> int:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                await answer.read()
                return answer.status

        yield call


async def _go_on(callers: Callers, ending: asyncio.Event, clock: Clock) -> None:
    while not ending.is_set():
        try:
            callers.add(await callers.call())
        except (OSError, EOFError, aiohttp.ClientError, MeshcaError) as error:
            callers.add(f"{type(error).__name__}: {error}")
        await clock.sleep(_PAUSE)
