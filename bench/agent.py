"""A real agent beside the benchmark, and its SDS socket: time to the first secret, memory per stream."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3.sds_pb2_grpc import SecretDiscoveryServiceStub

from bench.figures import Samples, percentile
from bench.processes import resident_mb
from bench.server import Ca, await_file
from meshca.config.resource_names import DEFAULT, SECRET_TYPE_URL
from meshca.identity.service_account import ServiceAccount

SECRETS = DiscoveryRequest(node=Node(id="bench"), resource_names=[DEFAULT], type_url=SECRET_TYPE_URL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A running agent that holds a certificate."""

    pid: int
    socket: Path


@contextlib.contextmanager
def running_agent(ca: Ca, directory: Path) -> Iterator[Agent]:
    """Start `meshca agent` with a token of its own and stop it at the end."""
    directory.mkdir()
    token = directory / "token"
    token.write_text(ca.issuer.mint(ServiceAccount(namespace="bench", name="agent"), pod="agent").reveal())
    command = [sys.executable, "-m", "meshca", "agent", "--endpoint", ca.endpoint]
    command += ["--endpoint-mtls", ca.endpoint_mtls, "--root", str(ca.directory / "root.pem")]
    command += ["--token-file", str(token), "--readiness", "off", "--write-certs", str(directory / "certs")]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as short,  # a socket's path must be
        (directory / "agent.log").open("wb") as log,
    ):
        socket = Path(short) / "sds.sock"
        command += ["--socket", str(socket)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            await_file(directory / "certs" / "cert-chain.pem", process)
            await_file(socket, process)
            yield Agent(pid=process.pid, socket=socket)
        finally:
            process.terminate()
            process.wait(timeout=30)


async def first_secret(stub: SecretDiscoveryServiceStub) -> float:
    """Seconds from opening a stream to its first secret."""
    started = time.perf_counter()
    stream = stub.StreamSecrets()
    await stream.write(SECRETS)
    await stream.read()
    took = time.perf_counter() - started
    stream.cancel()
    return took


async def fresh_streams(agent: Agent, count: int) -> list[float]:
    """Many streams, one after the other, on one connection."""
    async with grpc.aio.insecure_channel(f"unix:{agent.socket}") as channel:
        stub = SecretDiscoveryServiceStub(channel)
        await first_secret(stub)
        return [await first_secret(stub) for _ in range(count)]


async def fresh_connections(agent: Agent, count: int) -> list[float]:
    """Many streams, each on a connection of its own, the connection's time included."""
    took = []
    for _ in range(count):
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{agent.socket}", options) as channel:
            took.append(await first_secret(SecretDiscoveryServiceStub(channel)))
    return took


async def kilobytes_per_stream(agent: Agent, count: int) -> float:
    """Growth of the agent's memory for each idle stream, in KB (10^3 bytes), 100 streams a connection."""
    before = resident_mb(agent.pid)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for _ in range(count // 100):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{agent.socket}", options))
            stub = SecretDiscoveryServiceStub(channel)
            streams += [stub.StreamSecrets() for _ in range(100)]
        for stream in streams:
            await stream.write(SECRETS)
            await stream.read()
        grown = resident_mb(agent.pid) - before
        for stream in streams:
            stream.cancel()
    return grown * 1000 / len(streams)


def measure(ca: Ca, folder: Path, *, count: int, streams: int, runs: int) -> Samples:
    """First secrets and memory, each run with an agent of its own: a used one has memory to spare for streams."""
    samples: Samples = {}
    for run in range(runs):
        with running_agent(ca, folder / f"agent-{run}") as agent:
            for key, value in _run(agent, count, streams).items():
                samples.setdefault(key, []).append(value)
    return samples


def _run(agent: Agent, count: int, streams: int) -> dict[str, float]:
    idle = resident_mb(agent.pid)  # before anything else
    fresh = asyncio.run(fresh_streams(agent, count))
    connections = asyncio.run(fresh_connections(agent, count // 5))
    return {
        "agent.rss_idle_mb": idle,
        "sds.fresh_stream_p50_ms": 1000 * percentile(fresh, 0.5),
        "sds.fresh_stream_p99_ms": 1000 * percentile(fresh, 0.99),
        "sds.fresh_connection_p50_ms": 1000 * percentile(connections, 0.5),
        "sds.fresh_connection_p99_ms": 1000 * percentile(connections, 0.99),
        "sds.kb_per_stream": asyncio.run(kilobytes_per_stream(agent, streams)),
    }
