"""The root changes below two real Envoys under load; every request makes a full handshake, and none fails.

The CA is a fake one that does what the driver of a rotation would have it do; agents, Envoys, TLS and the agents'
stream are real. Client and server are two workloads with an agent each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshca.agent.chain import fingerprint
from meshca.agent.process import Agent
from meshca.app.demo.handshakes import handshakes, retries
from meshca.app.demo.load import Callers, calling, through_envoy
from meshca.app.envoy_process import EnvoyProcess
from meshca.authz.compile import compile_rbac
from meshca.authz.model import Workload
from meshca.authz.parse import parse_files
from meshca.clock import SystemClock
from meshca.config.resource_names import ROOTCA
from meshca.discovery.event import Adopted
from meshca.discovery.order import RenewalOrder
from meshca.errors import InvariantBroken
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, Outbound, ServiceBootstrap
from tests.fakes.agent_machine import Machine, running_machine
from tests.fakes.agent_values import bundle_of, new_root
from tests.fakes.ca import OWN
from tests.fakes.echo_app import echo_app
from tests.real.envoy import running_envoy

pytestmark = pytest.mark.real("envoy")
ME = SpiffeId.parse(OWN)  # the fake CA gives everybody this identity
SECONDS = 60
ENOUGH = 50  # requests that show that a step has harmed nobody; each made a full handshake
NO_POLICY = compile_rbac(parse_files({}), Workload(namespace="shop", trust_domain=TrustDomain("cluster.local")))


@dataclass(slots=True)
class Side:
    """A workload: its agent and its Envoy."""

    agent: Agent
    envoy: EnvoyProcess

    async def shows_what_its_agent_holds(self, signer: str) -> None:
        """Wait until the Envoy has a certificate below this signer in force."""
        async with asyncio.timeout(SECONDS):
            while True:
                held = self.agent.holding.svid
                if held is not None and signer in held.signers:
                    certificates = (await self.envoy.get("/certs"))[1]
                    if held.serial in certificates:
                        return
                await asyncio.sleep(0.02)


class Mesh:
    """Two workloads, one of which calls the other all the time."""

    def __init__(self, machine: Machine, client: Side, server: Side, callers: Callers) -> None:
        self.machine = machine
        self.sides = (client, server)
        self.callers = callers

    async def everybody_adopts(self, version: str) -> None:
        """Wait until both agents report that their Envoy has these roots in force."""
        async with asyncio.timeout(SECONDS):
            while len(self._adopters(version)) < len(self.sides):  # noqa: ASYNC110 - notices of several agents
                await asyncio.sleep(0.02)

    def _adopters(self, version: str) -> set[str]:
        return {
            notice.node.id
            for notice in self.machine.plane.notices
            if isinstance(notice.event, Adopted)
            and notice.event.versions.get(ROOTCA) == version
            and notice.node.report.grade == "envoy"
        }

    async def is_used(self) -> None:
        """Wait until many more requests were answered, and see that none failed."""
        before = self.callers.answered
        async with asyncio.timeout(SECONDS):
            while self.callers.answered < before + ENOUGH and not self.callers.failed:  # noqa: ASYNC110 - a count
                await asyncio.sleep(0.02)
        self.callers.none_failed()


@contextlib.asynccontextmanager
async def side(machine: Machine, name: str, *, inbound: int = 0, outbound: int = 0) -> AsyncIterator[Side]:
    """A workload in front of an application's port, or one that calls the port of another."""
    folder = machine.folder / name
    folder.mkdir()
    socket = machine.socket.with_name(name[0])  # a socket's address has little room
    flags = ("--socket", str(socket), "--state-dir", str(folder / "state"), "--node-id", name)
    service = ServiceBootstrap(
        identity=ME,
        source=AgentSocket(path=socket),
        inbound=(Inbound(port=0, app_port=inbound, address="127.0.0.1"),) if inbound else (),
        outbound=(Outbound(listen_port=0, host="127.0.0.1", port=outbound, identities=(ME,)),) if outbound else (),
        full_handshakes=True,
    )
    bootstrap = build(service)
    _never_try_again(bootstrap)
    async with machine.agent(machine.options(*flags)) as agent, running_envoy(bootstrap, folder) as envoy:
        await envoy.ready()
        yield Side(agent, envoy)


def _never_try_again(node: object) -> None:
    """Take every retry policy out: a second try would hide a handshake that failed."""
    if isinstance(node, dict):
        node.pop("retry_policy", None)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _never_try_again(child)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh below root a, in which the load runs."""
    async with contextlib.AsyncExitStack() as stack:
        machine = await stack.enter_async_context(running_machine(tmp_path))
        machine.plane.push_roots(machine.ca.root.pem)
        machine.plane.push_policies(NO_POLICY)
        app = await stack.enter_async_context(echo_app())
        server = await stack.enter_async_context(side(machine, "server", inbound=app))
        port = (await server.envoy.ports())[f"inbound-any-{app}"]
        client = await stack.enter_async_context(side(machine, "client", outbound=port))
        entrance = (await client.envoy.ports())[f"outbound-any-127.0.0.1-{port}"]
        call = await stack.enter_async_context(through_envoy(entrance, "/"))
        while await call() != 200:  # the client's cluster may still wait for its secrets
            continue
        callers = Callers(name="client to server", call=call, expected=200, count=2)
        made = Mesh(machine, client, server, callers)
        yield made


async def ports_show(machine: Machine, trusted: str) -> None:
    """The CA's ports begin anew: they trust these roots in clients, and show the line that is set."""
    await machine.serving.stop()
    machine.serving.client_roots = trusted
    await machine.serving.start()


async def test_a_root_changes_below_two_envoys_without_a_failed_request(mesh: Mesh) -> None:
    """Bundle a, then a and b, then leaves below b by an order at once, then bundle b; no handshake fails."""
    machine, ca, now = mesh.machine, mesh.machine.ca, SystemClock().now()
    old, following = fingerprint(ca.signer.certificate), new_root("next", now)
    both, new = bundle_of(ca.root, following, now=now), bundle_of(following, now=now)
    before = [await handshakes(side.envoy) for side in mesh.sides]
    retried = [await retries(side.envoy) for side in mesh.sides]
    async with calling(mesh.callers, SystemClock()):
        await mesh.is_used()
        await mesh.everybody_adopts(machine.plane.push_roots(both.pem))
        await ports_show(machine, both.pem)
        await mesh.is_used()
        ca.sign_below(following)
        machine.plane.push_order(RenewalOrder(signers=frozenset({old}), begun_at=SystemClock().now()))
        for one in mesh.sides:
            await one.shows_what_its_agent_holds(fingerprint(following.certificate))
        await mesh.is_used()
        ca.line = None
        await ports_show(machine, new.pem)
        await mesh.everybody_adopts(machine.plane.push_roots(new.pem))
        await mesh.is_used()
    mesh.callers.none_failed()
    made = [
        (await handshakes(side.envoy)).since(earlier) for side, earlier in zip(mesh.sides, before, strict=True)
    ]
    assert [one.failed for one in made] == [0, 0]
    assert [one.resumed for one in made] == [0, 0]
    assert all(one.completed >= mesh.callers.answered for one in made)
    assert [await retries(side.envoy) for side in mesh.sides] == retried
    assert ca.asked == ["token", "token", "certificate", "certificate"]


async def test_a_root_that_is_dropped_too_early_fails_requests(mesh: Mesh) -> None:
    """What the other test counts can be seen: leaves are still below the root that is dropped."""
    machine, ca, now = mesh.machine, mesh.machine.ca, SystemClock().now()
    both = bundle_of(ca.root, following := new_root("next", now), now=now)
    async with calling(mesh.callers, SystemClock()):
        await mesh.everybody_adopts(machine.plane.push_roots(both.pem))
        await mesh.is_used()
        machine.plane.push_roots(following.pem)
        with pytest.raises(InvariantBroken, match="calls failed"):
            await mesh.is_used()
