"""Workloads with real agents and real Envoys below a real CA, one of which calls the other all the time.

Every request makes a full handshake, and none is sent twice: otherwise nothing that breaks would be seen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshca.agent.options import read_options
from meshca.agent.process import Agent
from meshca.app import envoy_process
from meshca.app.demo import child
from meshca.app.demo.child import Child
from meshca.app.demo.handshakes import Handshakes, handshakes, retries
from meshca.app.demo.load import Callers, calling, through_envoy
from meshca.app.envoy_process import EnvoyProcess
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AdminSocket, AgentSocket, Inbound, Outbound, ServiceBootstrap
from tests.e2e.rotation.live_ca import LiveCa, until
from tests.fakes.echo_app import echo_app
from tests.real.envoy import find_envoy

NAMESPACE = "shop"
EAGER = Backoff(floor=0.05, ceiling=0.5)
CLIENT, SERVER = "web", "pay"
ENOUGH = 40  # requests that show that a step has harmed nobody


@dataclass(slots=True)
class Load:
    """Requests that go on while a root changes below them.

    Attributes:
        callers: what they saw.
        envoys: of both sides.
        before: handshakes that each had counted when the load began.
    """

    callers: Callers
    envoys: tuple[EnvoyProcess, ...]
    before: Sequence[Handshakes] = field(default_factory=list)

    async def is_answered(self) -> None:
        """Wait until many more requests were answered; none has failed."""
        wanted = self.callers.answered + ENOUGH
        await until(lambda: self.callers.answered >= wanted or bool(self.callers.failed), "nobody answers")
        self.callers.none_failed()

    async def harmed_nobody(self) -> None:
        """No request failed, no handshake was refused or resumed, and nothing was sent a second time."""
        self.callers.none_failed()
        for envoy, before in zip(self.envoys, self.before, strict=True):
            made = (await handshakes(envoy)).since(before)
            assert (made.failed, made.resumed) == (0, 0), envoy.log_tail()
            assert made.completed >= self.callers.answered
            assert await retries(envoy) == 0


class Mesh:
    """Starts workloads; everything that was started ends with the stack."""

    def __init__(self, folder: Path, ca: LiveCa, stack: contextlib.AsyncExitStack, *, eager: bool) -> None:
        self.folder = folder
        self.ca = ca
        self._stack = stack
        self._eager = eager
        self._hasty: list[Agent] = []
        self._agents: dict[str, contextlib.AsyncExitStack] = {}

    async def agent(self, name: str, *more: str, pin: Sequence[str] = ()) -> Child:
        """`meshca agent` of a workload, as a process, again if it was ended; it serves Envoys when this returns.

        Args:
            name: of the service account, the pod and the agent.
            more: flags.
            pin: flags that say whom to trust; by default the root that there was at first.
        """
        arguments = ["agent", *self._flags(name, pin), "--log-format", "json", *more]
        self._agents[name] = await self._stack.enter_async_context(contextlib.AsyncExitStack())
        log = self.folder / name / "agent.log"
        running = child.running(name, arguments, log, {"TMPDIR": str(self.folder)}, clock=SystemClock())
        made = await self._agents[name].enter_async_context(running)
        await made.writes(self.socket(name), 60)
        return made

    async def eager_agent(self, name: str, of: str = "") -> Agent:
        """An agent in the test's process that hardly waits before it tries again; a real one waits longer.

        Args:
            name: of the workload, and of its folder.
            of: the workload, where this is another agent of its pod that calls itself the same.
        """
        agent = Agent(read_options(self._flags(name, of=of), {}), Pace(clock=SystemClock(), backoff=EAGER))
        await agent.check_root_file()
        self._hasty.append(agent)
        works = await self._stack.enter_async_context(agent.open())
        await self._stack.enter_async_context(_in_background([work() for work in works]))
        await until(self.socket(name).exists, f"{name} does not serve")
        return agent

    def hurry(self) -> None:
        """Have the eager agents renew now, as they would at half the life of what they hold."""
        for agent in self._hasty:
            agent._renewal.hurry()

    def _flags(self, name: str, pin: Sequence[str] = (), of: str = "") -> list[str]:
        workload = of or name
        place = self.folder / name
        if not place.exists():
            place.mkdir()
            (place / "token").write_text(self.ca.server.token(NAMESPACE, workload, pod=workload))
            (place / "root.pem").write_bytes(self.ca.server.root)
        endpoint, mtls = (self.ca.server.endpoint(port) for port in ("endpoint", "endpoint-mtls"))
        flags = ["--endpoint", endpoint, "--endpoint-mtls", mtls, "--node-id", workload, "--readiness", "off"]
        flags += [*(pin or ("--root", str(place / "root.pem"))), "--token-file", str(place / "token")]
        return [*flags, "--socket", str(self.socket(name)), "--state-dir", str(place / "state")]

    async def everybody_acknowledges(self, count: int) -> None:
        """Wait until so many workloads are known, and each has the newest bundle in force."""

        async def known() -> bool:
            fleet = (await self.ca.report()).fleet
            return fleet is not None and fleet.seen == fleet.acknowledged == count

        await until(known, f"not all of {count} workloads acknowledge the newest bundle")

    async def end(self, name: str) -> None:
        """End a workload's agent."""
        await self._agents[name].aclose()

    def socket(self, name: str) -> Path:
        """Where an agent serves."""
        return self.folder / name / "s"

    async def envoy(
        self,
        name: str,
        *,
        inbound: int = 0,
        outbound: int = 0,
        called: str = SERVER,
        ill: bool = False,
        socket: Path | None = None,
    ) -> EnvoyProcess:
        """An Envoy on a workload's agent, in front of an application's port or calling the port of another.

        Args:
            name: of the workload.
            inbound: the application's port.
            outbound: the port that is called.
            called: the workload that is there.
            ill: whether it refuses every certificate; then it never becomes ready.
            socket: where it takes its agent to be; by default where that serves.
        """
        binary = find_envoy()
        assert binary is not None, 'mark the test with @pytest.mark.real("envoy")'
        folder = self.folder / name / f"envoy-{inbound}-{outbound}-{ill:d}"
        folder.mkdir()
        identities = (identity(called),)
        service = ServiceBootstrap(
            identity=identity(name),
            source=AgentSocket(path=socket or self.socket(name)),
            inbound=(Inbound(port=0, app_port=inbound, address="127.0.0.1"),) if inbound else (),
            outbound=(Outbound(listen_port=0, host="127.0.0.1", port=outbound, identities=identities),)
            if outbound
            else (),
            admin=AdminSocket(path=folder / "a"),
            full_handshakes=True,
        )
        bootstrap = build(service)
        never_try_again(bootstrap)
        if ill:  # it wants a stapled OCSP response, which nobody gives it
            chain = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]
            chain["transport_socket"]["typed_config"]["ocsp_staple_policy"] = "MUST_STAPLE"
        running = envoy_process.running(binary, bootstrap, folder, clock=SystemClock())
        envoy = await self._stack.enter_async_context(running)
        if not ill:
            await envoy.ready(60)
        return envoy

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Two workloads, `web` calling `pay` until the end of the block; then nobody may have been harmed."""
        async with echo_app() as app:
            for name in (SERVER, CLIENT):
                await (self.eager_agent(name) if self._eager else self.agent(name))
            server = await self.envoy(SERVER, inbound=app)
            client = await self.envoy(CLIENT, outbound=next(iter((await server.ports()).values())))
            entrance = next(iter((await client.ports()).values()))
            async with through_envoy(entrance, "/") as call:
                while await call() != 200:  # the client's cluster may still wait for its secrets
                    continue
                callers = Callers(name=f"{CLIENT} to {SERVER}", call=call, expected=200, count=2)
                load = Load(callers, (client, server), [await handshakes(one) for one in (client, server)])
                async with calling(callers, SystemClock()):
                    yield load
                await load.harmed_nobody()


@contextlib.asynccontextmanager
async def running_mesh(folder: Path, ca: LiveCa, *, eager: bool = False) -> AsyncIterator[Mesh]:
    """Nobody lives in it yet.

    Args:
        folder: for the workloads' files.
        ca: of the mesh.
        eager: whether the load's agents hardly wait before they try again.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield Mesh(folder, ca, stack, eager=eager)


@contextlib.asynccontextmanager
async def _in_background(works: Sequence[Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def identity(name: str) -> SpiffeId:
    """Whom the CA takes a workload for."""
    return SpiffeId.parse(f"spiffe://cluster.local/ns/{NAMESPACE}/sa/{name}")


def never_try_again(node: object) -> None:
    """Take every retry policy out: a second try would hide a handshake that failed."""
    if isinstance(node, dict):
        node.pop("retry_policy", None)
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        never_try_again(one)
