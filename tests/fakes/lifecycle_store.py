"""The port of the authority's history over a list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meshca.authority.history import EMPTY, Change, Lifecycle
from meshca.errors import Conflict, InvariantBroken, Unavailable


class FakeLifecycles:
    """Implements `meshca.authority.history.LifecycleStore`; shared by all replicas of a test.

    Attributes:
        lifecycle: the newest, as stored; may be set.
        history: every change, oldest first.
        commits: how many were made; those of rivals are left out.
    """

    def __init__(self, lifecycle: Lifecycle = EMPTY, history: Sequence[Change] = ()) -> None:
        self.lifecycle = lifecycle
        self.history = list(history)
        self.commits = 0
        self._down = False
        self._rivals: list[tuple[Lifecycle, Sequence[Change]]] = []
        self._moved = asyncio.Event()

    @property
    def down(self) -> bool:
        """Whether it is unreachable; may be set."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        self._move()

    def overtaken_by(self, lifecycle: Lifecycle, changes: Sequence[Change] = ()) -> None:
        """Another replica commits this right before the next commit here, which therefore fails."""
        self._rivals.append((lifecycle, changes))

    async def load(self) -> Lifecycle:
        """Look."""
        self._check()
        return self.lifecycle

    async def commit(self, lifecycle: Lifecycle, changes: Sequence[Change]) -> None:
        """Take it if it follows."""
        if any(change.generation != lifecycle.generation for change in changes):
            raise InvariantBroken("lifecycle", "a change names another generation than its commit")
        self._check()
        if self._rivals:
            self._put(*self._rivals.pop(0))
        if lifecycle.generation != self.lifecycle.generation + 1:
            raise Conflict("generation", f"generation {self.lifecycle.generation} is stored; look again")
        self._put(lifecycle, changes)
        self.commits += 1

    async def changes(self, limit: int) -> Sequence[Change]:
        """The newest."""
        self._check()
        return self.history[::-1][: max(limit, 0)]

    async def changed(self, generation: int) -> None:
        """Wait for another one."""
        while self._down or self.lifecycle.generation == generation:
            await self._moved.wait()

    def _put(self, lifecycle: Lifecycle, changes: Sequence[Change]) -> None:
        self.lifecycle = lifecycle
        self.history += changes
        self._move()

    def _move(self) -> None:
        """Wake who waits, and let those who come later wait."""
        self._moved.set()
        self._moved = asyncio.Event()

    def _check(self) -> None:
        if self._down:
            raise Unavailable("store", "the fake is down")
