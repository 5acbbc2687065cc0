"""Servers that run, and a connection to each: one of xDS streams, and one whose every handler is guarded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca._proto.istio.v1.auth import ca_pb2
from meshca.wire.interceptors import Guarded
from meshca.wire.xds_services import AGGREGATED, EXTENSIONS, SECRETS, add_service
from tests.wire.discovery_server import Server
from tests.wire.guarded_server import SERVICE, Behaviour, Handler, Served


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


def _handler(make: Any, behaviour: Any) -> Handler:
    read, write = ca_pb2.IstioCertificateRequest.FromString, ca_pb2.IstioCertificateResponse.SerializeToString
    return make(behaviour, request_deserializer=read, response_serializer=write)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server whose every handler is guarded."""
    behaviour = Behaviour()
    failures: list[tuple[str, str, str]] = []
    server = grpc.aio.server(options=(("grpc.max_metadata_size", 2**20),))  # more than the guard allows
    guarded = Guarded(server, lambda *failure: failures.append(failure))
    guarded.add_registered_method_handlers(
        SERVICE,
        {
            "Unary": _handler(grpc.unary_unary_rpc_method_handler, behaviour.unary),
            "Generated": _handler(grpc.unary_stream_rpc_method_handler, behaviour.generated),
            "Written": _handler(grpc.unary_stream_rpc_method_handler, behaviour.written),
            "Echoed": _handler(grpc.stream_stream_rpc_method_handler, behaviour.echoed),
            "Aborted": _handler(grpc.unary_unary_rpc_method_handler, behaviour.aborted),
            "Synchronous": _handler(grpc.unary_unary_rpc_method_handler, behaviour.synchronous),
            "SynchronousStream": _handler(grpc.unary_stream_rpc_method_handler, behaviour.synchronous),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(channel, guarded, behaviour, failures)
    await server.stop(None)
