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

from meshca import durable
from meshca.clock import Clock
from meshca.errors import ConfigError
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
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: list[_Watched] = []

    def add(
        self,
        what: str,
        paths: Callable[[], Iterable[Path]],
        changed: Callable[[], Awaitable[None]],
        *,
        read: Mapping[Path, str],
    ) -> None:
        """Watch a group from the content on that is in use, however long ago that was read.

        Args:
            what: name of the group, for the log.
            paths: the files to look at now; asked again at every look.
            changed: called after a change, and again at the next look when it raised.
            read: the files as they were read and put in force: what differs from it now is a change.
        """
        prints = {path: _fingerprint(text.encode()) for path, text in read.items()}
        self._watched.append(_Watched(what=what, paths=paths, changed=changed, settled=prints, last=prints))

    async def run(self) -> None:
        """Look for ever.

        Raises:
            Exception: whatever a callback raised, once every group has been looked at; run it again.
        """
        while True:
            await self._clock.sleep(INTERVAL)
            looks = await asyncio.gather(*map(self._look, self._watched), return_exceptions=True)
            for failure in filter(None, looks):
                raise failure

    async def _look(self, watched: _Watched) -> None:
        now = await asyncio.to_thread(lambda: fingerprints(watched.paths()))
        settled = now == watched.last
        watched.last = now
        if settled and now != watched.settled:
            log.info("files.changed", what=watched.what)
            await watched.changed()
            watched.settled = now  # only now: a callback that failed is called again


def fingerprints(paths: Iterable[Path]) -> Prints:
    """The hash of each file's content; a file that cannot be read, or is none, counts as absent."""
    prints: dict[Path, bytes] = {}
    for path in paths:
        try:
            prints[path] = _fingerprint(durable.read(path))
        except ConfigError:
            prints[path] = b""
    return prints


def _fingerprint(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
