"""The client of roots over the real socket: each method asks what it says, and gives values."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from meshca.app.admin_client import connect
from meshca.app.root_client import RootClient
from meshca.authority.lifecycle import State
from meshca.clock import SystemClock
from meshca.config.admin import AdminConfig
from meshca.errors import BadRequest, Denied, NotFound, Refused, Unavailable
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast, ForecastStep
from tests.fakes.admin_server import admin_server
from tests.fakes.root_commands import WINDOW, FakeRootCommands
from tests.fakes.root_reports import gate, straggler

OWN = os.geteuid()


@pytest.fixture
def commands() -> FakeRootCommands:
    """One root."""
    return FakeRootCommands(SystemClock())


@pytest.fixture
async def client(commands: FakeRootCommands) -> AsyncIterator[RootClient]:
    """A client of a server where a taint needs two people."""
    config = AdminConfig(uids=(OWN, OWN + 1), second_person=("taint",))
    async with admin_server(roots=commands, config=config) as path, connect(path) as client:
        yield client.roots


def active(commands: FakeRootCommands) -> str:
    """The id of the root that signs."""
    found = commands.state.active_root
    assert found is not None
    return found.id


async def test_a_whole_rotation_by_hand(client: RootClient, commands: FakeRootCommands) -> None:
    """Each step, and what is seen of it."""
    old = active(commands)
    made = (await client.prepare(same_key=False, reason="yearly")).root
    assert made is not None
    assert [one.state for one in await client.records()] == [State.ACTIVE, State.DISTRIBUTING]
    await client.activate(made.id, force=False, reason="")
    await client.retire(old, force=False, reason="")
    assert [one.state for one in await client.records(intermediates=True)] == [State.RETIRED, State.ACTIVE]
    assert list(await client.changes()) == commands.log[::-1]
    assert list(await client.changes(authority=old, limit=1)) == [commands.log[-1]]
    assert [one.record.id for one in (await client.report()).authorities] == [old, made.id]


async def test_a_whole_rotation_by_one_command(client: RootClient, commands: FakeRootCommands) -> None:
    """Begun, held, gone on with, given up."""
    answer = await client.rotate(compromised=False, window=None, reason="yearly")
    plan = commands.state.plan
    assert answer.root is not None
    assert plan is not None
    assert (plan.new, plan.compromised) == (answer.root.id, False)
    for act in (client.pause, client.resume, client.abort):
        await act(compromised=False, reason="why")
    assert [what for what, _ in commands.asked] == ["prepare", "pause", "resume", "abort"]
    assert commands.asked[-1][1] == Asked(by=f"uid {OWN}", reason="why")


async def test_a_window_that_is_not_named_is_the_configured_one(
    client: RootClient, commands: FakeRootCommands
) -> None:
    """Absent, not zero."""
    await client.rotate(compromised=False, window=None, reason="")
    assert commands.state.plan is not None
    assert commands.state.plan.window == WINDOW


async def test_a_window_of_nothing_is_at_once(client: RootClient) -> None:
    """Zero, not absent; a second person is told."""
    answer = await client.rotate(compromised=True, window=timedelta(0), reason="stolen")
    assert answer.waiting is not None
    assert answer.waiting.says.endswith(" within 0s")


async def test_bundles(client: RootClient, commands: FakeRootCommands) -> None:
    """The one in force, one by its number, or which there were."""
    await client.prepare(same_key=True, reason="")
    assert await client.bundles() == list(commands.state.bundles)
    assert (await client.export()).bundle == commands.state.bundles[1]
    assert (await client.export(1)).bundle == commands.state.bundles[0]
    with pytest.raises(NotFound, match="no bundle with sequence 9"):
        await client.export(9)


async def test_a_forecast(client: RootClient, commands: FakeRootCommands) -> None:
    """Who would break."""
    commands.foreseen = Forecast(
        steps=(ForecastStep(says="a"), ForecastStep(says="b")), losers=(straggler(),), unnamed=2
    )
    assert await client.forecast(compromised=True, window=timedelta(minutes=1)) == commands.foreseen
    old = active(commands)
    made = (await client.prepare(same_key=False, reason="")).root
    assert made is not None
    assert await client.foresee("activate", made.id, "lost") == commands.foreseen
    await client.activate(made.id, force=False, reason="")
    assert await client.foresee("taint", old, "lost", timedelta(minutes=1)) == commands.foreseen
    assert await client.foresee("retire", old, "lost") == commands.foreseen


async def test_what_waits_for_a_second_person(client: RootClient, commands: FakeRootCommands) -> None:
    """Answered, listed; and not approved by who asked."""
    old = active(commands)
    made = (await client.prepare(same_key=False, reason="")).root
    assert made is not None
    await client.activate(made.id, force=False, reason="")
    answer = await client.taint(old, window=None, reason="stolen")
    assert answer.waiting is not None
    assert await client.requests() == [answer.waiting]
    assert await client.foresee_request(answer.waiting.id) == commands.foreseen
    with pytest.raises(Denied, match="another administrator must approve it"):
        await client.approve(answer.waiting.id, reason="", shown=commands.foreseen)


async def test_what_waits_is_taken_back_or_denied(client: RootClient, commands: FakeRootCommands) -> None:
    """By who asked, and by another."""
    old = active(commands)
    made = (await client.prepare(same_key=False, reason="")).root
    assert made is not None
    await client.activate(made.id, force=False, reason="")
    for end in (client.withdraw, functools.partial(client.deny, reason="no")):
        waiting = (await client.taint(old, window=None, reason="stolen")).waiting
        assert waiting is not None
        assert await end(waiting.id) == waiting
        assert await client.requests() == []


async def test_a_closed_gate(client: RootClient, commands: FakeRootCommands) -> None:
    """Says who would break."""
    made = (await client.prepare(same_key=False, reason="")).root
    assert made is not None
    commands.gate = gate(why="web-1 does not trust it")
    with pytest.raises(Refused) as caught:
        await client.activate(made.id, force=False, reason="")
    assert (caught.value.reason, caught.value.detail) == ("gate_closed", "web-1 does not trust it")


async def test_a_wrong_request(client: RootClient) -> None:
    """Says what was expected."""
    with pytest.raises(BadRequest, match="root must be the id of a root"):
        await client.retire("ab", force=False, reason="")


async def test_watching(client: RootClient, commands: FakeRootCommands) -> None:
    """Until the server cannot tell any more."""
    watched = client.watch()
    assert (await anext(watched)).generation == 1
    commands.down = True
    with pytest.raises(Unavailable, match="the fake is down"):
        await anext(watched)
