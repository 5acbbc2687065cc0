"""The store is lost between two steps of a rotation; CA and keys are still there, so nobody is refused."""

from __future__ import annotations

from pathlib import Path

from meshca.authority.lifecycle import State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, stopped
from tests.e2e.rotation.mesh import running_mesh


def lose(ca: LiveCa) -> None:
    """Remove the database, and nothing else."""
    for file in (ca.folder / "data").glob("meshca.db*"):
        file.unlink()


async def lost_and_started(ca: LiveCa) -> None:
    """Kill the server, lose its store, start it again."""
    await ca.kill()
    lose(ca)
    await ca.start()


async def test_while_distributing(place: Path) -> None:
    """The root that signed signs on, the other is still trusted, and a rotation to it can be begun again."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        agent = await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        with stopped(agent.process.pid):
            await ca.run("root", "rotate", "--reason", "yearly")
            await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
            roots = await ca.ids()
            await lost_and_started(ca)
            assert (await ca.ids(), await ca.states()) == (roots, [State.ACTIVE, State.DISTRIBUTING])
            assert (await ca.report()).plan is None
            assert len(list((ca.folder / "data/keys").iterdir())) == 4
        await mesh.everybody_acknowledges(1)
        again = await ca.run("root", "rotate", "--reason", "again")
        assert again.value["root"] == roots[1]
        await ca.reaches(State.RETIRING, State.ACTIVE)


async def test_while_retiring(place: Path) -> None:
    """Both roots are trusted, and none is retired: what was signed before is not known any more."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        await mesh.agent("web")
        await mesh.everybody_acknowledges(1)
        await ca.run("root", "rotate", "--reason", "yearly")
        await ca.reaches(State.RETIRING, State.ACTIVE)
        roots = await ca.ids()
        await lost_and_started(ca)
        assert (await ca.ids(), len(await ca.states())) == (roots, 2)
        assert State.RETIRED not in await ca.states()
        refused = await ca.run("root", "retire", roots[1])
        assert (refused.code, refused.value["error"]["reason"]) == (3, "gate_closed")
        await mesh.everybody_acknowledges(1)
        assert sorted(await ca.states()) == [State.ACTIVE, State.DISTRIBUTING]
