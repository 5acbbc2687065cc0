"""Runs the demo from nothing to nothing: one private folder, processes of its own, and neither left afterwards.

Ctrl-C and SIGTERM end it the same orderly way at any moment. A second one is not obeyed: what was started is
being ended already, and interrupting that would leave it behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from meshca.app.demo import python_story, story, vault
from meshca.app.demo.parts import Start
from meshca.app.demo.telling import Teller
from meshca.app.demo.topology import Places
from meshca.errors import Unavailable

_PREFIX = "meshca-demo-"
_LONGEST_BASE = 48  # bytes; the agents' sockets are below, and a socket's path has at most 107 (unix(7))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run(
    tell: Teller,
    *,
    binary: Path | None,
    began: float,
    bao: Path | None = None,
    kept: Callable[[Sequence[str]], None] | None = None,
) -> None:
    """Show the demo and clean up.

    Args:
        tell: shows the steps.
        binary: the Envoy to run; None for peers in Python.
        began: steady time at which the user asked for the demo.
        bao: the OpenBao that the CA's root is in; None for a root of its own.
        kept: shows what to try; everything then runs on until a signal comes. None ends the demo at once.

    Raises:
        Unavailable: `demo_step` naming the step that failed, or `interrupted`.
    """
    try:
        with _cancelled_by_signals(), tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_base()) as folder:
            async with AsyncExitStack() as running:
                places = Places(Path(folder))
                signs = await vault.start(bao, places.vault, running, tell) if bao else None
                start = Start(places=places, running=running, tell=tell, clock=tell.clock, vault=signs)
                played = story.play(start, binary, began) if binary else python_story.play(start, began)
                to_try = await played
                if kept is not None:
                    await _until_cancelled(kept, to_try)
    except asyncio.CancelledError:
        raise Unavailable("interrupted", "the demo was interrupted; all that it started is gone") from None


def _base() -> str:
    base = tempfile.gettempdir()
    return base if len(os.fsencode(base)) <= _LONGEST_BASE else "/tmp"  # noqa: S108 - the folder in it is private


async def _until_cancelled(kept: Callable[[Sequence[str]], None], to_try: Sequence[str]) -> None:
    kept(to_try)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Let the first signal cancel the current task, and ignore those that follow."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came = asyncio.Event()

    def cancel() -> None:
        if task is not None and not came.is_set():
            came.set()
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, cancel)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
