"""A client that never reads holds up nobody but itself, neither while the server serves nor when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshca.config.resource_names import ROOTCA, SECRET_TYPE_URL
from tests.fakes.xds_client import ADS, xds_stream
from tests.real.dev_server import running_server
from tests.real.raw_http2 import EMPTY, http2

WATCH = "/grpc.health.v1.Health/Watch"
CONNECTIONS = 12  # over two workers: with this many, hardly ever is one left out
# A drain that waited for what nobody reads would take longer than a test waits for the end.
SETTINGS = {"MESHCA__WORKERS": "2", "MESHCA__SERVING__DRAIN_TIMEOUT": "120s"}


async def test_watches_that_nobody_reads(tmp_path: Path) -> None:
    """Others' watches are answered; SIGTERM ends streams at once with `draining`, and then the server."""
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path / "ca", settings=SETTINGS))
        for _ in range(CONNECTIONS):
            connection = await stack.enter_async_context(http2(server, window=0))
            for number in (1, 3, 5):
                connection.begin(number, WATCH)
                await connection.data(number, EMPTY, end=True)
        for _ in range(CONNECTIONS):
            channel = await stack.enter_async_context(server.channel())
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
        held = await server.create(server.token())
        channel = await stack.enter_async_context(server.channel(shown=held))
        opened: Any = xds_stream(channel, ADS + "StreamAggregatedResources")
        stream: Any = await stack.enter_async_context(opened)
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
        await stream.answer()
        server.process.send_signal(signal.SIGTERM)
        code, said, trailers = await stream.status()
        assert trailers.get("meshca-reason") == "draining", (
            code,
            said,
            (tmp_path / "ca" / "log").read_text()[-5000:],
        )
        assert await asyncio.to_thread(server.process.wait, 30) == 0
