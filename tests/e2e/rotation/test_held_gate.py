"""Whoever cannot take the new root holds the gate of a planned rotation by name, and it opens when they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshca.authority.lifecycle import State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.rotation.mesh import identity, running_mesh
from tests.fakes.echo_app import echo_app


async def gate(ca: LiveCa) -> Any:
    """The gate of the next step, as `meshca root status` tells scripts of it."""
    return (await ca.run("root", "status")).value["gate"]


async def is_held_by(ca: LiveCa, name: str) -> Any:
    """Wait until one workload alone holds the gate of the activation; gives what is said of it."""

    async def alone() -> bool:
        found = (await ca.report()).gate
        return found is not None and [one.workload.pod for one in found.stragglers] == [name]

    await until(alone, f"the gate is not held by {name} alone")
    found = await gate(ca)
    (straggler,) = found["stragglers"]
    assert (found["open"], found["ready"], found["of"]) == (False, 1, 2)
    assert straggler["workload"]["identity"] == str(identity(name))
    assert await ca.states() == [State.ACTIVE, State.DISTRIBUTING]
    return straggler


async def rotate(ca: LiveCa) -> None:
    """Begin a planned rotation; nobody waits for its end."""
    done = await ca.run("root", "rotate", "--reason", "yearly")
    assert done.code == 0, done


async def test_stopped_agent(place: Path) -> None:
    """An agent that takes no step is named; it goes on, and so does the rotation."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        await mesh.agent("web")
        slow = await mesh.agent("pay")
        await mesh.everybody_acknowledges(2)
        with stopped(slow.process.pid):
            await rotate(ca)
            straggler = await is_held_by(ca, "pay")
            assert straggler["workload"]["connected"] is True
        await ca.reaches(State.RETIRING, State.ACTIVE)


async def test_ended_agent(place: Path) -> None:
    """An agent that is gone is named while its certificate lives; it starts again, and the rotation goes on."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        await mesh.agent("web")
        await mesh.agent("pay")
        await mesh.everybody_acknowledges(2)
        await mesh.end("pay")
        await rotate(ca)
        straggler = await is_held_by(ca, "pay")
        await until(lambda: _disconnected(ca), "the agent that ended counts as connected")
        assert straggler["why"]
        await mesh.agent("pay")
        await ca.reaches(State.RETIRING, State.ACTIVE)


async def _disconnected(ca: LiveCa) -> bool:
    found = await gate(ca)
    return not any(one["workload"]["connected"] for one in found["stragglers"])


@pytest.mark.real("envoy")
async def test_ill_envoy(place: Path) -> None:
    """An Envoy with a refused secret holds its agent up, in its own words; it leaves, and the rotation goes on."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh, echo_app() as app:
        await mesh.agent("web")
        await mesh.agent("pay")
        await mesh.envoy("pay", inbound=app)
        ill = await mesh.envoy("pay", inbound=app, ill=True)
        await until(lambda: _in_trouble(ca, ill.pid), "the ill Envoy is not reported")
        await rotate(ca)
        straggler = await is_held_by(ca, "pay")
        assert f"pid {ill.pid}" in straggler["workload"]["trouble"]
        await ill.stop()
        await ca.reaches(State.RETIRING, State.ACTIVE)


async def _in_trouble(ca: LiveCa, pid: int) -> bool:
    """Whether an agent has told of this Envoy."""
    status = await ca.ask(lambda client: client.status())
    return f"pid {pid}" in repr(status)
