"""What changes while the mesh runs: the policy by hand, and every certificate by itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from meshca.app.demo import calls, load, vault
from meshca.app.demo.answers import until
from meshca.app.demo.handshakes import Handshakes, handshakes, retries
from meshca.app.demo.load import Callers
from meshca.app.demo.mesh import Mesh
from meshca.app.demo.renewal import renewed_under_load
from meshca.app.demo.telling import Step
from meshca.app.demo.topology import CHARGES, REFUNDS, policy
from meshca.errors import InvariantBroken


async def edited_live(mesh: Mesh) -> None:
    """The policy file is edited, and edited back; nothing is restarted.

    Raises:
        Unavailable: reason `demo_step`.
    """
    with mesh.start.tell.step("the policy is edited live, and the answer flips", "CA", "payments") as step:
        for verb, paths, status in (("added", [CHARGES, REFUNDS], 200), ("removed", [CHARGES], 403)):
            save(mesh.start.places.policy, policy(paths))
            seconds = await until(lambda: calls.get(mesh.web_port, REFUNDS), status, mesh.start.clock)
            step.say(f"{REFUNDS} {verb}: {status} after {seconds:.2f} s", **{f"{verb}_s": round(seconds, 3)})


async def renewed(mesh: Mesh) -> None:
    """Every certificate is replaced while each request makes a full handshake, and none fails.

    Raises:
        Unavailable: reason `demo_step`.
    """
    title = "all certificates are renewed under load, and no request fails"
    async with everybody(mesh) as rows:
        with mesh.start.tell.step(title, "") as step:
            before, repeated = await handshakes(mesh.payments.envoy), await _retries(mesh)
            requests = await renewed_under_load(step, rows, mesh.serials, mesh.start.clock)
            made = (await handshakes(mesh.payments.envoy)).since(before)
            _every_one_counts(step, requests, made, retried=await _retries(mesh) - repeated)


async def sealed(mesh: Mesh) -> None:
    """Vault, if there is one, is sealed while every certificate is replaced, and nobody is harmed.

    Raises:
        Unavailable: reason `demo_step`.
    """
    start = mesh.start
    if start.vault is not None:
        async with everybody(mesh) as rows:
            await vault.sealed(start.vault, mesh.ca.admin, start.tell, rows, mesh.serials)


@contextlib.asynccontextmanager
async def everybody(mesh: Mesh) -> AsyncIterator[Sequence[Callers]]:
    """One who is let in, three at a time, and one who is not, both through their Envoys."""
    async with (
        load.through_envoy(mesh.web_port, CHARGES) as by_web,
        load.through_envoy(mesh.intruder_port, CHARGES) as by_intruder,
    ):
        yield [
            Callers(name=f"web GET {CHARGES}", call=by_web, expected=200, count=3),
            Callers(name=f"intruder GET {CHARGES}", call=by_intruder, expected=403, count=1),
        ]


def save(path: Path, text: str) -> None:
    """Replace a file in one step, as editors do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _every_one_counts(step: Step, requests: int, made: Handshakes, *, retried: int) -> None:
    """Go on only when each request came over a connection that was made, and checked, for it.

    What Envoy sent a second time is told and not judged: a connection may break for any reason, and the caller
    is answered all the same.

    Raises:
        InvariantBroken: reason `demo_handshakes`.
    """
    if made.completed < requests or made.resumed or made.failed:
        counted = f"{made.completed} handshakes, {made.resumed} resumed, {made.failed} failed"
        raise InvariantBroken("demo_handshakes", f"{requests} requests made {counted}, expected one full one each")
    step.say(
        f"{made.completed} TLS handshakes for {requests} requests, {made.resumed} resumed, {retried} retried",
        handshakes=made.completed,
        resumed=made.resumed,
        retried=retried,
    )


async def _retries(mesh: Mesh) -> int:
    return await retries(mesh.web.envoy) + await retries(mesh.intruder.envoy)
