"""Real Envoys on a real agent: certificates, renewals, policies, and everything that may go wrong with the CA."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.process import Agent
from meshca.app.envoy_process import EnvoyProcess
from meshca.authz.compile import compile_rbac
from meshca.authz.model import Workload
from meshca.authz.parse import parse_files
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Refused
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, ServiceBootstrap
from meshca.wire.xds_streams import Notice
from tests.fakes.agent_machine import Machine, running_machine
from tests.fakes.agent_values import bundle_of, new_root, policy_body
from tests.fakes.ca import OWN, Mood
from tests.fakes.echo_app import echo_app
from tests.real.envoy import running_envoy
from tests.real.raw_http import RawClient

pytestmark = pytest.mark.real("envoy")
SECONDS = 30
WORKLOAD = Workload(namespace="shop", trust_domain=TrustDomain("cluster.local"))
NO_POLICY = compile_rbac(parse_files({}), WORKLOAD)
DENY_ADMIN = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin"]}}]}]
"""


@dataclass(slots=True)
class Mesh:
    """A CA with an agent's files, an application, and a caller's certificate."""

    machine: Machine
    app_port: int
    caller: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def sidecar(
        self, name: str = "envoy", *, delta: bool = False, ill: bool = False
    ) -> AsyncIterator[Sidecar]:
        """An Envoy that may not be ready yet; an ill one refuses every certificate."""
        service = ServiceBootstrap(
            identity=SpiffeId.parse(OWN),
            source=AgentSocket(path=self.machine.socket),
            inbound=(Inbound(port=0, app_port=self.app_port, address="127.0.0.1"),),
            delta=delta,
        )
        bootstrap = build(service)
        if ill:  # it wants a stapled OCSP response, which nobody gives it
            chain = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]
            chain["transport_socket"]["typed_config"]["ocsp_staple_policy"] = "MUST_STAPLE"
        async with running_envoy(bootstrap, self.machine.folder, name=name) as envoy:
            yield Sidecar(self, envoy)

    async def adopted(self, name: str, version: str, *, since: int = 0) -> Notice:
        """The agent reports that its Envoys have this."""

        def wanted(notice: Notice) -> bool:
            event, grade = notice.event, notice.node.report.grade
            return isinstance(event, Adopted) and event.versions.get(name) == version and grade == "envoy"

        return await self.machine.plane.heard(wanted, since=since)


@dataclass(slots=True)
class Sidecar:
    """A real Envoy in front of the application."""

    mesh: Mesh
    envoy: EnvoyProcess

    async def port(self) -> int:
        """Of the inbound listener."""
        return (await self.envoy.ports())[f"inbound-any-{self.mesh.app_port}"]

    async def serial(self) -> str:
        """Of the certificate that a new connection is shown."""
        _, writer = await asyncio.open_connection("127.0.0.1", await self.port(), ssl=self.mesh.caller)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return f"{x509.load_der_x509_certificate(der).serial_number:x}"

    async def get(self, path: str = "/") -> int:
        """The status of a request over a connection of its own."""
        async with RawClient(await self.port(), self.mesh.caller) as client:
            return (await client.request("GET", path)).status

    async def until(self, status: int, path: str = "/") -> None:
        """Ask until this is the answer."""
        async with asyncio.timeout(SECONDS):
            while await self.get(path) != status:
                continue

    async def shows(self, agent: Agent) -> None:
        """Every request is answered until the agent's newest certificate is shown."""
        async with asyncio.timeout(SECONDS):
            while await self.serial() != (agent.holding.svid.serial if agent.holding.svid else ""):
                assert await self.get() == 200


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Everything but agent and Envoy; there is no policy for this workload."""
    async with running_machine(tmp_path) as machine, echo_app() as app_port:
        machine.plane.push_roots(machine.ca.root.pem)
        machine.plane.push_policies(NO_POLICY)
        key = fresh_key(KeyChoice.EC_P256, None)
        (tmp_path / "caller.pem").write_text(key.private.reveal() + "".join(machine.ca.issue(key.csr)[:2]))
        caller = ssl.create_default_context(cadata=machine.ca.root.pem)
        caller.check_hostname = False  # a mesh peer is known by its URI name
        caller.load_cert_chain(tmp_path / "caller.pem")
        yield Mesh(machine, app_port, caller)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
async def test_an_envoy_gets_everything_and_the_ca_knows(mesh: Mesh, delta: bool) -> None:  # noqa: FBT001 - a row
    """Certificate, roots, policies; each is reported as adopted by an Envoy."""
    machine = mesh.machine
    async with machine.agent(machine.options()) as agent, mesh.sidecar(delta=delta) as sidecar:
        await sidecar.envoy.ready()
        await sidecar.until(200)
        assert agent.holding.svid is not None
        assert await sidecar.serial() == agent.holding.svid.serial
        for name, version in ((ROOTCA, agent.state()["roots"]), (AUTHZ, agent.state()["policies"])):
            notice = await mesh.adopted(name, str(version))
            assert notice.node.report.pending_pids == ()
        version = machine.plane.push_policies(compile_rbac(parse_files({"p.yaml": DENY_ADMIN}), WORKLOAD))
        await mesh.adopted(AUTHZ, version)
        assert [await sidecar.get("/admin"), await sidecar.get("/")] == [403, 200]


async def test_an_envoy_that_starts_first_waits_for_the_agent(mesh: Mesh) -> None:
    """Without a certificate its listener does not open; the agent's first one opens it."""
    machine = mesh.machine
    machine.socket.parent.mkdir()
    async with mesh.sidecar() as sidecar:
        assert (await sidecar.envoy.get("/ready"))[0] == 503
        async with machine.agent(machine.options()):
            await sidecar.envoy.ready()
            await sidecar.until(200)


async def test_a_renewal_is_live_without_a_failed_request(mesh: Mesh) -> None:
    """Twice, with certificates of six seconds."""
    machine = mesh.machine
    machine.ca.lifetime = timedelta(seconds=6)
    async with machine.agent(machine.options()) as agent, mesh.sidecar() as sidecar:
        await sidecar.envoy.ready()
        await sidecar.until(200)
        serials = {await sidecar.serial()}
        async with asyncio.timeout(SECONDS):
            while len(serials) < 3:
                assert await sidecar.get() == 200
                serials.add(await sidecar.serial())
        assert "certificate" in machine.ca.asked
        assert agent.state()["ready"] is True


@pytest.mark.parametrize("mood", [None, Mood.REFUSE, Mood.HANG, Mood.GARBAGE, Mood.WRONG_KEY, Mood.EXPIRED])
async def test_whatever_the_ca_does_envoys_keep_working(mesh: Mesh, mood: Mood | None) -> None:
    """Down, refusing, hanging or answering nonsense at renewal; a new Envoy still gets the valid certificate."""
    machine = mesh.machine
    machine.ca.lifetime = timedelta(seconds=60)
    async with machine.agent(machine.options("--call-timeout", "1s")) as agent, mesh.sidecar() as first:
        await first.envoy.ready()
        await first.until(200)
        held = agent.holding.svid
        if mood is None:
            await machine.serving.stop()
        else:
            machine.ca.mood = machine.ca.certificate_mood = mood
        agent._renewal.hurry()
        await machine_failed(agent)
        async with mesh.sidecar("second") as second:
            await second.envoy.ready()
            await second.until(200)
            assert held is not None
            assert [await first.serial(), await second.serial()] == [held.serial] * 2
            assert agent.state()["ready"] is True


async def machine_failed(agent: Agent) -> None:
    """A renewal was tried and failed."""
    async with asyncio.timeout(SECONDS):
        while not agent.holding.failure:  # noqa: ASYNC110 - a state of the agent, not of the test
            await asyncio.sleep(0.02)


async def test_garbage_from_the_ca_reaches_no_envoy(mesh: Mesh) -> None:
    """Envoy would acknowledge bad roots; the agent refuses them, and the next good ones are taken."""
    machine = mesh.machine
    async with machine.agent(machine.options()), mesh.sidecar() as sidecar:
        await sidecar.envoy.ready()
        await sidecar.until(200)
        machine.plane.push_raw(SECRET_TYPE_URL, b"\xff garbage")
        await machine.plane.heard(lambda notice: isinstance(notice.event, Refused))
        assert await sidecar.get() == 200
        now = SystemClock().now()
        both = bundle_of(machine.ca.root, new_root("next", now), now=now)
        await mesh.adopted(ROOTCA, machine.plane.push_roots(both.pem))
        assert await sidecar.get() == 200


async def test_policies_that_an_envoy_refuses_are_reported_and_taken_back(mesh: Mesh) -> None:
    """The old set stays in force, also for an Envoy that starts later; the next good one is taken."""
    machine = mesh.machine
    denying = compile_rbac(parse_files({"p.yaml": DENY_ADMIN}), WORKLOAD)
    async with machine.agent(machine.options()), mesh.sidecar() as sidecar:
        await sidecar.envoy.ready()
        await mesh.adopted(AUTHZ, machine.plane.push_policies(denying))
        machine.plane.push_raw(EXTENSION_TYPE_URL, policy_body("\x07 no RBAC"))
        notice = await machine.plane.heard(lambda notice: isinstance(notice.event, Refused))
        assert isinstance(notice.event, Refused)
        assert f"pid {sidecar.envoy.pid} refuses {AUTHZ}" in notice.event.error
        async with mesh.sidecar("second") as second:
            await second.envoy.ready()
            await second.until(200)
            assert [await sidecar.get("/admin"), await second.get("/admin")] == [403, 403]
            await mesh.adopted(AUTHZ, machine.plane.push_policies(NO_POLICY))
            await second.until(200, "/admin")  # Envoy acknowledges before its workers obey


async def test_an_ill_envoy_takes_nothing_from_a_healthy_one(mesh: Mesh) -> None:
    """It refuses its certificate; new policies and roots stay in force beside it, and count once it is gone."""
    machine = mesh.machine
    denying = compile_rbac(parse_files({"p.yaml": DENY_ADMIN}), WORKLOAD)
    now = SystemClock().now()
    both = bundle_of(machine.ca.root, new_root("next", now), now=now)
    async with machine.agent(machine.options()) as agent, mesh.sidecar() as healthy:
        await healthy.envoy.ready()
        await healthy.until(200)
        async with mesh.sidecar("ill", ill=True) as ill:
            await machine.plane.heard(lambda notice: f"pid {ill.envoy.pid}" in notice.node.report.held_up)
            since = len(machine.plane.notices)
            versions = {AUTHZ: machine.plane.push_policies(denying), ROOTCA: machine.plane.push_roots(both.pem)}
            await healthy.until(403, "/admin")
            for type_url in (SECRET_TYPE_URL, EXTENSION_TYPE_URL):
                await machine.plane.heard(partial(held_up, type_url=type_url), since=since)
            heard = [type(notice.event) for notice in machine.plane.notices[since:]]
            assert not {Adopted, Refused} & set(heard)
        for name, version in versions.items():
            await mesh.adopted(name, version, since=since)
        assert [agent.state()["policies"], agent.state()["roots"]] == [versions[AUTHZ], versions[ROOTCA]]
        assert [await healthy.get("/admin"), await healthy.get("/")] == [403, 200]


def held_up(notice: Notice, type_url: str) -> bool:
    """Whether the agent reports what holds up this type."""
    return notice.type_url == type_url and bool(notice.node.report.held_up)


async def test_a_stopped_envoy_is_reported_by_its_pid_and_holds_nothing_up(mesh: Mesh) -> None:
    """Until it goes on and catches up."""
    machine = mesh.machine
    async with (
        machine.agent(machine.options("--envoy-timeout", "1s")),
        mesh.sidecar() as first,
        mesh.sidecar("second") as second,
    ):
        await first.envoy.ready()
        await second.envoy.ready()
        os.kill(second.envoy.pid, signal.SIGSTOP)
        try:
            version = machine.plane.push_policies(compile_rbac(parse_files({"p.yaml": DENY_ADMIN}), WORKLOAD))
            notice = await mesh.adopted(AUTHZ, version)
            assert notice.node.report.pending_pids == (second.envoy.pid,)
            await first.until(403, "/admin")
            since = len(machine.plane.notices)
        finally:
            os.kill(second.envoy.pid, signal.SIGCONT)
        assert (await mesh.adopted(AUTHZ, version, since=since)).node.report.pending_pids == ()
        await second.until(403, "/admin")


async def test_an_agents_restart_is_not_noticed_by_callers(mesh: Mesh) -> None:
    """Envoy keeps what it has and takes the new agent's certificate."""
    machine = mesh.machine
    async with contextlib.AsyncExitStack() as agents:
        await agents.enter_async_context(machine.agent(machine.options()))
        async with mesh.sidecar() as sidecar:
            await sidecar.envoy.ready()
            await sidecar.until(200)
            old = await sidecar.serial()
            await agents.aclose()
            assert await sidecar.get() == 200
            restarted = await agents.enter_async_context(machine.agent(machine.options()))
            await sidecar.shows(restarted)
            assert await sidecar.serial() != old


async def test_an_agent_restarted_without_a_ca_takes_nothing_away(mesh: Mesh) -> None:
    """The running Envoy keeps its certificate and policies."""
    machine = mesh.machine
    denying = compile_rbac(parse_files({"p.yaml": DENY_ADMIN}), WORKLOAD)
    async with contextlib.AsyncExitStack() as agents:
        await agents.enter_async_context(machine.agent(machine.options()))
        async with mesh.sidecar() as sidecar:
            await sidecar.envoy.ready()
            await mesh.adopted(AUTHZ, machine.plane.push_policies(denying))
            await agents.aclose()
            await machine.serving.stop()
            restarted = await agents.enter_async_context(machine.agent(machine.options()))
            async with asyncio.timeout(SECONDS):
                while restarted.state()["envoys"] != 1:  # noqa: ASYNC110 - a state of the agent
                    await asyncio.sleep(0.02)
            assert [await sidecar.get("/admin"), await sidecar.get("/")] == [403, 200]
            assert restarted.state()["ready"] is False
