"""Watching a rotation: what changes is told, not too often, and looked at once for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.config.admin import AdminConfig
from meshca.errors import Unavailable
from meshca.rotation.commands import Asked
from meshca.rpc.admin_entry import Entered
from meshca.rpc.roles import Administrator, Held, Role, Sight
from meshca.rpc.root_second_person import SecondPerson
from meshca.rpc.root_service import WATCH_SECONDS, Roots
from tests.fakes.clock import FakeClock
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import gate, straggler


class TestWatching:
    """By a clock of the test."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Moved by hand."""
        return FakeClock()

    @pytest.fixture
    def commands(self, clock: FakeClock) -> FakeRootCommands:
        """One root."""
        return FakeRootCommands(clock)

    def watching(self, commands: FakeRootCommands, clock: FakeClock) -> Callable[[], AsyncIterator[Any]]:
        """Begins to watch, as often as it is called."""
        people: Any = None  # nobody acts
        rule = SecondPerson(
            commands=commands, people=people, dangers=(), lifetime=AdminConfig().request_lifetime, clock=clock
        )
        roots = Roots(commands, rule, clock)
        entered = Entered(Administrator("uid 1", (Held(Role.VIEWER),)), Sight(None))
        return lambda: roots.WatchRotation(roots_pb2.WatchRotationRequest(), entered)

    async def test_changes_are_told_at_most_twice_a_second(
        self, commands: FakeRootCommands, clock: FakeClock
    ) -> None:
        """And nothing is told while nothing changes, though time goes on and workloads are heard of."""
        told: list[int] = []

        async def watch() -> None:
            async for status in self.watching(commands, clock)():
                told.append(status.generation)  # noqa: PERF401 - it is looked at meanwhile

        task = asyncio.create_task(watch())
        await clock.advance(0)
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        commands.gate = gate()
        await clock.advance(WATCH_SECONDS)
        commands.gate = gate(stragglers=(straggler(seen_at=clock.now()),))
        await clock.advance(10 * WATCH_SECONDS)
        assert told == [1, 3]
        commands.down = True
        await clock.advance(WATCH_SECONDS)
        with pytest.raises(Unavailable, match="the fake is down"):
            await task

    async def test_many_who_watch_look_once(self, commands: FakeRootCommands, clock: FakeClock) -> None:
        """What a look costs does not grow with those who are curious."""
        looks: list[float] = []
        report = commands.report

        async def counted() -> Any:
            looks.append(clock.monotonic())
            return await report()

        commands.report = counted  # type: ignore[method-assign] # counts
        begin = self.watching(commands, clock)
        seen = [(await anext(begin())).generation for _ in range(20)]
        assert (seen, looks) == ([1] * 20, [0.0])
        clock.move(WATCH_SECONDS)
        await anext(begin())
        assert looks == [0.0, WATCH_SECONDS]

    async def test_a_look_that_fails_when_nobody_watches_any_more(
        self, commands: FakeRootCommands, clock: FakeClock
    ) -> None:
        """Is nobody's to hear of: the one who began it is gone."""
        commands.down = True

        async def watch() -> None:
            await anext(self.watching(commands, clock)())

        task = asyncio.create_task(watch())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await clock.advance(0)
