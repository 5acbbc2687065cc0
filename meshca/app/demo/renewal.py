"""Waits, under a running load, until every certificate of the mesh is another one."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence

from meshca.app.demo import load
from meshca.app.demo.load import Callers
from meshca.app.demo.telling import Step
from meshca.app.demo.topology import LIFETIME
from meshca.clock import Clock
from meshca.errors import Unavailable

_AFTERWARDS = 1.0  # seconds for which the load goes on with renewed certificates
_POLL_SECONDS = 0.2

Serials = Callable[[], Awaitable[frozenset[str]]]


async def renewed_under_load(step: Step, rows: Sequence[Callers], serials: Serials, clock: Clock) -> int:
    """Let everybody call until no certificate is in use that was in use before.

    Args:
        step: learns what goes on.
        rows: who calls.
        serials: the serial numbers in use now.
        clock: for waiting.

    Returns:
        The number of calls; none of them failed.

    Raises:
        Unavailable: reason `demo_renewal`, when a certificate is still in use after its lifetime.
        InvariantBroken: reason `demo_load`, when a call failed.
    """
    old = await serials()
    async with contextlib.AsyncExitStack() as calling:
        for callers in rows:
            await calling.enter_async_context(load.calling(callers, clock))
        deadline = clock.monotonic() + LIFETIME.total_seconds()
        while left := (await serials()) & old:
            step.note(f"{_so_far(rows)}; {len(old) - len(left)} of {len(old)} certificates renewed")
            if clock.monotonic() > deadline:
                raise Unavailable(
                    "demo_renewal", f"{len(left)} certificates outlived their lifetime, {_so_far(rows)}"
                )
            await clock.sleep(_POLL_SECONDS)
        await clock.sleep(_AFTERWARDS)
    for callers in rows:
        callers.none_failed()
    answers = ", ".join(f"{callers.answered} answered {callers.expected}" for callers in rows)
    total = sum(callers.answered for callers in rows)
    step.say(f"{len(old)} certificates renewed; {answers}; 0 failed", renewed=len(old), requests=total, failed=0)
    return total


def _so_far(rows: Sequence[Callers]) -> str:
    return f"{sum(row.answered for row in rows)} requests, {sum(row.failed for row in rows)} failed"
