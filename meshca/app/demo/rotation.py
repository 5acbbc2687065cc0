"""Replaces the root of the demo's mesh under load, as an operator does it, and times each phase."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from meshca.app.demo import child, load, vault
from meshca.app.demo.changes import everybody
from meshca.app.demo.handshakes import handshakes
from meshca.app.demo.load import Callers
from meshca.app.demo.mesh import Mesh
from meshca.app.demo.telling import Step
from meshca.errors import InvariantBroken

PHASES = {  # an act of the new root or of the old one, and the phase that it ends
    "activate": "everybody has learnt to trust the new root",
    "retire": "every certificate below the old root is replaced, and nobody trusts that any more",
}


async def rotated(mesh: Mesh) -> None:
    """The root is replaced while each request makes a full handshake, and none fails.

    Raises:
        Unavailable: reason `demo_step`.
    """
    title = "the root is replaced under load, and no request fails"
    async with everybody(mesh) as rows:
        with mesh.start.tell.step(title, "") as step:
            before = await handshakes(mesh.payments.envoy)
            await _rotate(mesh, rows, step)
            made = (await handshakes(mesh.payments.envoy)).since(before)
            total = sum(row.answered for row in rows)
            if made.completed < total or made.resumed or made.failed:
                counted = f"{made.completed} handshakes, {made.resumed} resumed, {made.failed} failed"
                raise InvariantBroken("demo_handshakes", f"{total} requests made {counted}")
            step.say(f"{total} requests, each with a full handshake; 0 failed", requests=total, failed=0)


async def _rotate(mesh: Mesh, rows: Sequence[Callers], step: Step) -> None:
    """One command, or what an operator does in Vault, with everybody calling until it ends."""
    signs = mesh.start.vault
    step.note("another root is made in Vault" if signs else "meshca root rotate --wait")
    async with contextlib.AsyncExitStack() as calling:
        for callers in rows:
            await calling.enter_async_context(load.calling(callers, mesh.start.clock))
        if signs:
            await vault.change_root(signs, mesh.ca.admin, mesh.start.clock)
        else:
            await _meshca(mesh, "rotate", "--wait", "--reason", "the demo")
    for callers in rows:
        callers.none_failed()
    for phase, seconds in phases(json.loads(await _meshca(mesh, "history"))).items():
        step.say(f"{seconds:5.1f} s until {PHASES[phase]}", **{f"{phase}_s": round(seconds, 3)})


async def _meshca(mesh: Mesh, command: str, *arguments: str) -> str:
    line = ["root", command, *arguments, "--output", "json", "--socket", mesh.ca.admin]
    return await child.output_of(f"meshca root {command}", line)


def phases(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds that each phase of the newest rotation took, from the one before to the act that ends it.

    Args:
        history: of all roots, newest first, as `meshca root history --output json` tells it.
    """
    roots = [change for change in reversed(history) if change["kind"] == "root"]
    acts = {change["act"]: datetime.fromisoformat(change["at"]) for change in roots}
    ends = [acts["distribute"], *(acts[phase] for phase in PHASES)]
    return {
        phase: (end - begin).total_seconds() for phase, begin, end in zip(PHASES, ends, ends[1:], strict=False)
    }
