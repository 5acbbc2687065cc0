"""What `meshca demo` shows on a machine without Envoy: the same identities, checked by peers in Python.

Without Envoy there is no policy to enforce; the called side compares the caller's SPIFFE ID itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from meshca.app.demo import calls, mesh, python_peer, vault
from meshca.app.demo.calls import expect
from meshca.app.demo.forged import forged_client
from meshca.app.demo.load import Callers
from meshca.app.demo.mesh import AGENT_SECONDS, same
from meshca.app.demo.parts import Ca, Start, written_certificates
from meshca.app.demo.python_peer import Identity, Server
from meshca.app.demo.renewal import renewed_under_load
from meshca.app.demo.topology import CHARGES, INTRUDER, PAYMENTS, WEB, WORKLOADS, spiffe_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """The two peers, and one that is not welcome."""

    start: Start
    ca: Ca
    server: Server
    payments: Identity
    web: Identity
    intruder: Identity

    async def serials(self) -> frozenset[str]:
        """The serial numbers of the certificates on disk."""
        return frozenset(identity.held().serial for identity in (self.payments, self.web, self.intruder))


async def play(start: Start, began: float) -> list[str]:
    """Show everything; the CA and the agents run on until the caller's stack is closed.

    Args:
        start: what starting needs.
        began: steady time at which the user asked for the demo.

    Returns:
        What to try while they run, as lines of a shell.

    Raises:
        Unavailable: reason `demo_step`, naming the step that failed.
    """
    peers = await _build(start)
    await _checked(peers, began)
    await _refused(peers)
    await _renewed(peers)
    if start.vault is not None:
        await vault.sealed(start.vault, peers.ca.admin, start.tell, _everybody(peers), peers.serials)
    return [
        f"openssl x509 -noout -text -in {peers.web.folder / 'cert-chain.pem'}",
        f"meshca ledger list --socket {peers.ca.admin}",
    ]


async def _build(start: Start) -> Peers:
    ca = await mesh.start_ca(start)
    agents = await mesh.start_agents(start, ca, write_certificates=True)
    with start.tell.step("two mTLS peers in Python, and an intruder, with certificates as files", "agent") as step:
        identities = {
            account: Identity(folder=written_certificates(start.places, account)) for account in WORKLOADS
        }
        for account, identity in identities.items():
            await agents[account].writes(identity.folder / "cert-chain.pem", AGENT_SECONDS)
            same("the identity in the file", str(spiffe_id(account)), identity.held().spiffe_id)
            step.say(str(identity.held()))
        serving = python_peer.serving(identities[PAYMENTS], allowed=str(spiffe_id(WEB)))
        server = await start.running.enter_async_context(serving)
        step.facts["identities"] = [str(spiffe_id(account)) for account in WORKLOADS]
    return Peers(
        start=start,
        ca=ca,
        server=server,
        payments=identities[PAYMENTS],
        web=identities[WEB],
        intruder=identities[INTRUDER],
    )


async def _checked(peers: Peers, began: float) -> None:
    port, payments = peers.server.port, str(spiffe_id(PAYMENTS))
    with peers.start.tell.step(f"web -> payments GET {CHARGES} is allowed, both identities checked") as step:
        expect("web's call", 200, await python_peer.call(peers.web, port, CHARGES, payments))
        seconds = round(peers.start.clock.monotonic() - began, 1)
        step.say("200", status=200)
        step.say(f"first verified mTLS request {seconds} s after the command", first_request_s=seconds)
    with peers.start.tell.step(f"intruder -> payments GET {CHARGES} is forbidden") as step:
        expect("the intruder's call", 403, await python_peer.call(peers.intruder, port, CHARGES, payments))
        step.say(f"403: proven to be {spiffe_id(INTRUDER)}", status=403)


async def _refused(peers: Peers) -> None:
    handshakes = peers.server.handshakes
    with peers.start.tell.step("plaintext to the mTLS port is refused") as step:
        reply = await calls.get_past_envoy(peers.server.port, CHARGES, tls=None)
        expect("a plaintext request", 0, reply)
        step.say(reply.text)
    with peers.start.tell.step("a self-made certificate is refused") as step:
        impostor = forged_client(spiffe_id(WEB), peers.ca.root, peers.start.places.folder)
        reply = await calls.get_past_envoy(peers.server.port, CHARGES, tls=impostor)
        expect(f"a self-made certificate for {spiffe_id(WEB)}", 0, reply)
        same("the number of connections that the server took", handshakes, peers.server.handshakes)
        step.say(f"it says {spiffe_id(WEB)}, signed by another CA: {reply.text}")


async def _renewed(peers: Peers) -> None:
    title = "all certificates are renewed under load, and no request fails"
    with peers.start.tell.step(title, "CA", "agent") as step:
        before = peers.server.handshakes
        requests = await renewed_under_load(step, _everybody(peers), peers.serials, peers.start.clock)
        made, resumed = peers.server.handshakes - before, peers.server.resumed
        same("the number of full handshakes", requests, made - resumed)
        step.say(
            f"{made} TLS handshakes for {requests} requests, {resumed} resumed", handshakes=made, resumed=resumed
        )


def _everybody(peers: Peers) -> list[Callers]:
    web, intruder = (functools.partial(_status, peers, one) for one in (peers.web, peers.intruder))
    return [
        Callers(name="web", call=web, expected=200, count=3),
        Callers(name="intruder", call=intruder, expected=403, count=1),
    ]


async def _status(peers: Peers, identity: Identity) -> int:
    reply = await python_peer.call(identity, peers.server.port, CHARGES, str(spiffe_id(PAYMENTS)))
    return reply.status
