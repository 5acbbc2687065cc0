"""A CA that serves, and the files of one workload beside it: what an agent in a test needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from meshca.agent.options import Options, read_options
from meshca.agent.process import Agent
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, SECRET_TYPE_URL
from tests.fakes.agent_values import unsigned_token
from tests.fakes.ca import FakeCa, ServingCa, serving_ca
from tests.fakes.control_plane import ControlPlane
from tests.fakes.xds_client import ECDS, SDS, XdsStream, read_secret, xds_stream


class Machine:
    """A CA, and the files of one workload."""

    def __init__(self, folder: Path, serving: ServingCa, plane: ControlPlane) -> None:
        self.folder = folder
        self.serving = serving
        self.ca = serving.ca
        self.plane = plane
        (folder / "root.pem").write_text(self.ca.root.pem)
        (folder / "token").write_text(unsigned_token("shop", "web"))

    @property
    def socket(self) -> Path:
        """Where the agent serves."""
        return self.folder / "run" / "s"

    def options(self, *more: str, pin: tuple[str, ...] = (), mtls: bool = True) -> Options:
        """The agent's flags."""
        flags = ["--endpoint", str(self.serving.token), *(pin or ("--root", str(self.folder / "root.pem")))]
        flags += ["--endpoint-mtls", str(self.serving.mtls)] if mtls else []
        flags += ["--token-file", str(self.folder / "token"), "--socket", str(self.socket)]
        flags += ["--state-dir", str(self.folder / "state"), "--readiness", "off", *more]
        return read_options(flags, {})

    @contextlib.asynccontextmanager
    async def agent(self, options: Options) -> AsyncIterator[Agent]:
        """An agent that runs."""
        pace = Pace(clock=SystemClock(), backoff=Backoff(floor=0.05, ceiling=0.5))
        made = Agent(options, pace)
        await made.check_root_file()
        async with made.open() as works:
            running = [asyncio.create_task(work()) for work in works]
            try:
                yield made
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def envoy(self, method: str, type_url: str) -> AsyncIterator[XdsStream]:
        """A client on the agent's socket."""
        async with (
            grpc.aio.insecure_channel(f"unix:{self.socket}") as channel,
            xds_stream(channel, method, type_url=type_url) as stream,
        ):
            yield stream

    async def secret(self, name: str) -> Secret:
        """Wait for a secret."""
        async with self.envoy(SDS + "StreamSecrets", SECRET_TYPE_URL) as stream:
            await stream.ask(name)
            return read_secret((await stream.answer())["0"])

    async def policies(self) -> bytes:
        """Wait for the policy set."""
        async with self.envoy(ECDS + "StreamExtensionConfigs", EXTENSION_TYPE_URL) as stream:
            await stream.ask(AUTHZ)
            return (await stream.answer())["0"]


@contextlib.asynccontextmanager
async def running_machine(folder: Path) -> AsyncIterator[Machine]:
    """With a CA that serves certificates and xDS."""
    plane = ControlPlane()
    async with serving_ca(FakeCa(SystemClock()), plane.add_to) as serving:
        yield Machine(folder, serving, plane)
