"""An agent that restarts in any phase of a root's change, with what it was first given, still verifies the CA.

It may have lost what it learnt: then it is as on its first day, with a root that may be gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meshca.authority.lifecycle import State
from tests.e2e.rotation.live_ca import LiveCa, live_ca, until
from tests.e2e.rotation.mesh import Mesh, running_mesh

FORGETFUL = ("--state-dir", "off")
WHY = "the test says so"


def pins(ca: LiveCa) -> Mapping[str, Sequence[str]]:
    """Whom to trust, as operators say it on the first day."""
    pem = ca.server.root.decode()
    file = ca.folder.parent / "first-root.pem"
    file.write_text(pem)
    sha256 = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    return {"file": ("--root", str(file)), "fingerprint": ("--fingerprint", sha256)}


def logged(mesh: Mesh, name: str, event: str) -> list[dict[str, Any]]:
    """What an agent has logged of one event since it was started last."""
    lines = (mesh.folder / name / "agent.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in found if line["event"] == event]


async def verifies(mesh: Mesh, name: str, *more: str, pin: Sequence[str]) -> None:
    """Start an agent, or start it again; it gets a certificate and a stream over channels that it verified."""
    await mesh.agent(name, *more, pin=pin)
    await until(lambda: bool(logged(mesh, name, "relay.connected")), f"{name} gets no stream")
    assert logged(mesh, name, "certificate.failed") == []
    await mesh.end(name)


async def go_on(ca: LiveCa, *states: State) -> None:
    """Take one step of a rotation, whoever breaks."""
    old, new = await ca.ids()
    if State.RETIRED in states:
        await ca.ask(lambda client: client.roots.retire(old, force=True, reason=WHY))
    else:
        await ca.ask(lambda client: client.roots.activate(new, force=True, reason=WHY))
    await ca.reaches(*states)


async def everybody_verifies(mesh: Mesh, given: Mapping[str, Sequence[str]]) -> None:
    """With each pin, an agent that keeps what it learnt and one that does not."""
    learning = [verifies(mesh, f"learns-{how}", pin=pin) for how, pin in given.items()]
    forgetful = [verifies(mesh, f"forgets-{how}", *FORGETFUL, pin=pin) for how, pin in given.items()]
    await asyncio.gather(*learning, *forgetful)


async def test_restarts_in_each_phase(place: Path) -> None:
    """Anybody verifies while the old root is trusted; later who has learnt, and others are told of the new one."""
    async with live_ca(place, {}) as ca, running_mesh(place, ca) as mesh:
        given = pins(ca)
        await everybody_verifies(mesh, given)
        await ca.ask(lambda client: client.roots.prepare(same_key=False, reason=WHY))
        await ca.reaches(State.ACTIVE, State.DISTRIBUTING)
        await everybody_verifies(mesh, given)
        await go_on(ca, State.RETIRING, State.ACTIVE)
        await everybody_verifies(mesh, given)
        await go_on(ca, State.RETIRED, State.ACTIVE)
        new = (await ca.ids())[1]
        await asyncio.gather(
            *(verifies(mesh, f"learns-{how}", pin=pin) for how, pin in given.items()),
            *(is_told(mesh, f"forgets-{how}", new, pin=pin) for how, pin in given.items()),
        )


async def is_told(mesh: Mesh, name: str, new: str, *, pin: Sequence[str]) -> None:
    """Start an agent that knows the old root only: it gets nothing, and is told the fingerprint of the new one."""
    await mesh.agent(name, *FORGETFUL, pin=pin)
    log = mesh.folder / name / "agent.log"
    await until(lambda: new in log.read_text(), f"{name} is not told the new fingerprint")
    assert logged(mesh, name, "relay.connected") == []
    await mesh.end(name)
