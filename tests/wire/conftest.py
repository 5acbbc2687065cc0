"""A server of xDS streams that runs, and a connection to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from meshca.wire.interceptors import Guarded
from meshca.wire.xds_services import AGGREGATED, EXTENSIONS, SECRETS, add_service
from tests.wire.discovery_server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A running server."""
    server = Server()
    guarded = Guarded(running := grpc.aio.server())
    for service in (SECRETS, EXTENSIONS, AGGREGATED):
        add_service(guarded, service, server.streams, server.admit)
    running.add_insecure_port(f"unix:{tmp_path}/s")
    await running.start()
    sweeper = asyncio.create_task(server.streams.run())
    yield server
    sweeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeper
    await running.stop(0)


@pytest.fixture
async def channel(server: Server, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel
