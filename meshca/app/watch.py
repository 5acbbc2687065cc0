"""Notices changed files by their content, a few times a second.

Polling, not inotify: a projected volume changes by swapping the `..data` symlink, which file events miss or
report for the wrong name. A change counts once the content was the same twice in a row, so that a file that is
just being written is not taken for a shorter one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshca.clock import Clock
from meshca.log import log

INTERVAL: Final = 0.2  # seconds; two of them and the reload itself stay well below one second

Prints = Mapping[Path, bytes]


@dataclass(slots=True, kw_only=True)
class _Watched:
    what: str
    paths: Callable[[], Iterable[Path]]
    changed: Callable[[], Awaitable[None]]
    settled: Prints
    last: Prints = field(default_factory=dict)


class Watch:
    """Calls back when the content of a group of files has changed and settled.

    Args:
        clock: whose time is waited for.
        interval: seconds between two looks.
    """

    def __init__(self, clock: Clock, interval: float = INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        self._watched: dict[str, _Watched] = {}

    def add(self, what: str, paths: Callable[[], Iterable[Path]], changed: Callable[[], Awaitable[None]]) -> None:
        """Watch a group from its present content on; a group of the same name is replaced.

        Args:
            what: name of the group, for the log.
            paths: the files to look at now; asked again at every look.
            changed: called after a change; it handles its own errors.
        """
        now = fingerprints(paths())
        self._watched[what] = _Watched(what=what, paths=paths, changed=changed, settled=now, last=now)

    def remove(self, what: str) -> None:
        """Stop watching a group, if it is watched."""
        self._watched.pop(what, None)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(self._interval)
            for watched in list(self._watched.values()):
                await self._look(watched)

    async def _look(self, watched: _Watched) -> None:
        now = await asyncio.to_thread(lambda: fingerprints(watched.paths()))
        settled = now == watched.last
        watched.last = now
        if settled and now != watched.settled:
            watched.settled = now
            log.info("files.changed", what=watched.what)
            await watched.changed()


def fingerprints(paths: Iterable[Path]) -> Prints:
    """The hash of each file's content; a file that cannot be read counts as absent."""
    prints: dict[Path, bytes] = {}
    for path in paths:
        try:
            prints[path] = hashlib.sha256(path.read_bytes()).digest()
        except OSError:
            prints[path] = b""
    return prints
