"""Whoever cannot take the new root holds the gate of a planned rotation by name, and it opens when they can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshca.authority.lifecycle import State
from meshca.config.resource_names import DEFAULT
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.rotation.meddler import meddling
from tests.e2e.rotation.mesh import identity, running_mesh
from tests.fakes.echo_app import echo_app

SHORT = {"MESHCA__SVID__DEFAULT_LIFETIME": "20s"}  # so that an old root is soon needed by nobody


async def gate(ca: LiveCa) -> Any:
    """The gate of the next step, as `meshca root status` tells scripts of it."""
    return (await ca.run("root", "status")).value["gate"]


async def is_held_by(ca: LiveCa, name: str, *, of: int = 2) -> Any:
    """Wait until one of so many workloads alone holds the gate of the activation; gives what is said of it."""

    async def alone() -> bool:
        found = (await ca.report()).gate
        return found is not None and [one.workload.pod for one in found.stragglers] == [name]

    await until(alone, f"the gate is not held by {name} alone")
    found = await gate(ca)
    (straggler,) = found["stragglers"]
    assert (found["open"], found["ready"], found["of"]) == (False, of - 1, of)
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


@pytest.mark.real("envoy")
async def test_refused_bundle(place: Path) -> None:
    """An Envoy that refuses the new roots holds them up in its own words; offered again, it takes them.

    Meanwhile its agent offers them again and again, acknowledges nothing, and the next certificate is refused too;
    an agent that starts again knows nothing of that, and still acknowledges nothing before its Envoy is back.
    """
    async with live_ca(place, SHORT) as ca, running_mesh(place, ca) as mesh, mesh.load() as load:
        await mesh.agent("bank")
        async with meddling(mesh.socket("bank"), place / "bank" / "between") as meddler:
            await mesh.envoy("bank", inbound=1, socket=meddler.path)
            await mesh.everybody_acknowledges(3)
            meddler.spoils = True
            await rotate(ca)
            await refuses_roots(ca, "bank", of=3)
            await until(lambda: DEFAULT in meddler.refusals, "the next certificate is not refused")
            await mesh.end("bank")
            await mesh.agent("bank")
            await refuses_roots(ca, "bank", of=3)
            await load.is_answered()
            meddler.spoils = False
            await ca.finishes(State.RETIRED, State.ACTIVE)
            await load.is_answered()


async def refuses_roots(ca: LiveCa, name: str, *, of: int) -> None:
    """See one workload hold up the activation with what its Envoy says of the roots, to whoever asks."""

    async def told() -> bool:  # not while its agent opens its next stream
        straggler = await is_held_by(ca, name, of=of)
        return "refuses ROOTCA: Failed to load trusted CA certificates from <inline>" in straggler["why"]

    await until(told, "the words of Envoy are not told")
    refusal = await ca.run("root", "activate", (await ca.ids())[-1])
    assert (refusal.code, refusal.value["error"]["reason"]) == (3, "gate_closed")
    assert f'{identity(name)} in "{name}": ' in refusal.value["error"]["detail"]
    fleet = (await ca.report()).fleet
    assert fleet is not None
    assert (fleet.seen, fleet.acknowledged) == (of, of - 1)


async def _in_trouble(ca: LiveCa, pid: int) -> bool:
    """Whether an agent has told of this Envoy."""
    status = await ca.ask(lambda client: client.status())
    return f"pid {pid}" in repr(status)
