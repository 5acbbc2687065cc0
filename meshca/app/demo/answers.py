"""Who gets an answer: the one caller that the policy lets in, and nobody else."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from meshca.app.demo import calls
from meshca.app.demo.calls import Reply, expect
from meshca.app.demo.forged import forged_client
from meshca.app.demo.handshakes import NOT_OURS, NOT_TLS, tls_count
from meshca.app.demo.mesh import Mesh, same
from meshca.app.demo.telling import Step
from meshca.app.demo.topology import CHARGES, INTRUDER, REFUNDS, WEB, spiffe_id
from meshca.clock import Clock

# A policy is live within a second; this is for a machine that is busy with other things.
SOON = 20.0
_POLL_SECONDS = 0.02


async def allowed(mesh: Mesh, began: float) -> None:
    """One caller is let in, and the application learns who it is.

    Raises:
        Unavailable: reason `demo_step`.
    """
    with mesh.start.tell.step(f"web -> payments GET {CHARGES} is allowed", "CA", "web", "payments") as step:
        # Envoy denies from its first moment; the policy arrives within moments of its certificate.
        await until(lambda: calls.get(mesh.web_port, CHARGES), 200, mesh.start.clock)
        seconds = round(mesh.start.clock.monotonic() - began, 1)
        same("the caller that the application sees", str(spiffe_id(WEB)), mesh.application.callers[-1])
        step.say(f"200; the application sees {spiffe_id(WEB)}", status=200)
        step.say(f"first verified mTLS request {seconds} s after the command", first_request_s=seconds)


async def forbidden(mesh: Mesh) -> None:
    """The same caller on another path, and another caller on the same path, are not.

    Raises:
        Unavailable: reason `demo_step`.
    """
    reached = len(mesh.application.callers)
    with mesh.start.tell.step(f"web -> payments GET {REFUNDS} is forbidden", "web", "payments") as step:
        expect(f"web's GET {REFUNDS}", 403, await calls.get(mesh.web_port, REFUNDS))
        step.say("403: the policy names other paths", status=403)
    with mesh.start.tell.step(f"intruder -> payments GET {CHARGES} is forbidden", "intruder", "payments") as step:
        expect(f"the intruder's GET {CHARGES}", 403, await calls.get(mesh.intruder_port, CHARGES))
        same("the number of calls that reached the application", reached, len(mesh.application.callers))
        step.say(f"403: proven to be {spiffe_id(INTRUDER)}, and not named", status=403)


async def refused(mesh: Mesh) -> None:
    """Who cannot prove an identity does not even get a 403.

    Raises:
        Unavailable: reason `demo_step`.
    """
    with mesh.start.tell.step("plaintext to the mTLS port is refused", "payments") as step:
        await _refused_for(mesh, step, NOT_TLS, None)
    with mesh.start.tell.step("a self-made certificate is refused", "payments") as step:
        impostor = forged_client(spiffe_id(WEB), mesh.ca.root, mesh.start.places.folder)
        step.say(f"it says {spiffe_id(WEB)}, but another CA signed it")
        await _refused_for(mesh, step, NOT_OURS, impostor)


async def _refused_for(mesh: Mesh, step: Step, reason: str, tls: ssl.SSLContext | None) -> None:
    """Call past Envoy, and go on only when it was refused, and for this reason by Envoy's own count."""
    reached, before = len(mesh.application.callers), await tls_count(mesh.payments.envoy, reason)
    expect("the call", 0, await calls.get_past_envoy(mesh.payments_port, CHARGES, tls=tls))
    same("the number of calls that reached the application", reached, len(mesh.application.callers))
    same(f"Envoy's count of {reason}", before + 1, await tls_count(mesh.payments.envoy, reason))
    step.say(f"connection closed; Envoy counts it as {reason}", refused_as=reason)


async def until(call: Callable[[], Awaitable[Reply]], expected: int, clock: Clock) -> float:
    """Call again and again until the answer has a status.

    Returns:
        The seconds that it took.

    Raises:
        InvariantBroken: the answer is still another one.
        OSError: as the call does.
    """
    began = clock.monotonic()
    reply = await call()
    while reply.status != expected and clock.monotonic() - began < SOON:
        await clock.sleep(_POLL_SECONDS)
        reply = await call()
    expect(f"the call, even after {SOON:.0f} s,", expected, reply)
    return clock.monotonic() - began
