"""Two agents of one pod, called the same: what one of them holds is not forgotten for what the other one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshca.authority.lifecycle import State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped, until
from tests.e2e.rotation.mesh import identity, running_mesh

WHY = "the test says so"
# The end of a stream to who does not answer is noticed after 40 s at most; a certificate must live for longer.
LASTING = {"MESHCA__SVID__DEFAULT_LIFETIME": "150s"}


async def straggler(ca: LiveCa) -> Any:
    """The one workload that holds the next step up."""
    gate = (await ca.run("root", "status")).value["gate"]
    assert not gate["open"]
    (found,) = gate["stragglers"]
    return found["workload"]


async def agents(ca: LiveCa) -> list[bool]:
    """Of each agent that `meshca status` shows, whether it is connected."""
    return [one["connected"] for one in (await ca.run("status")).value["agents"]]


async def test_stopped_beside_another(place: Path) -> None:
    """A stopped agent holds both gates, also after its stream has ended; when it goes on they open."""
    async with live_ca(place, LASTING) as ca, running_mesh(place, ca, eager=True) as mesh:
        first = await mesh.agent("web")
        second = await mesh.eager_agent("second", of="web")
        await until(lambda: _sees(ca, [True, True]), "an agent gets no stream")
        await mesh.everybody_acknowledges(1)
        with stopped(first.process.pid):
            await ca.run("root", "rotate", "--reason", WHY)
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            assert (await straggler(ca))["identity"] == str(identity("web"))
            await ca.ask(lambda client: _activate(client, ca))
            before = second.holding.svid
            mesh.hurry()
            await until(lambda: second.holding.svid is not before, "the other agent does not renew")
            await until(lambda: _sees(ca, [False, True]), "the end of the stopped agent's stream is not noticed")
            found = await straggler(ca)
            assert (found["identity"], found["pod"], found["connected"]) == (str(identity("web")), "web", False)
            assert await ca.states() == [State.RETIRING, State.ACTIVE]
        await ca.finishes(State.RETIRED, State.ACTIVE)


async def _activate(client: Any, ca: LiveCa) -> None:
    await client.roots.activate((await ca.ids())[-1], force=True, reason=WHY)


async def _sees(ca: LiveCa, connected: list[bool]) -> bool:
    return sorted(await agents(ca)) == connected
