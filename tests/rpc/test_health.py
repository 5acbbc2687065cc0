"""Facts about the health service, seen by a client over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse, HealthListRequest
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server

from meshca.rpc.health import Health
from meshca.wire.interceptors import Guarded
from meshca.wire.status import REASON

NAMES = pytest.mark.parametrize("name", ["", "a.Service"])


class Client:
    """A stub, and the guard that ends streams."""

    def __init__(self, channel: grpc.aio.Channel, guarded: Guarded) -> None:
        self.stub: Any = HealthStub(channel)
        self.guarded = guarded


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The service behind the guard."""
    server = grpc.aio.server()
    guarded = Guarded(server)
    add_HealthServicer_to_server(Health(["a.Service"]), cast("grpc.aio.Server", guarded))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel, guarded)
    await server.stop(None)


@NAMES
async def test_check(client: Client, name: str) -> None:
    """The server as a whole and each service serve."""
    answer = await client.stub.Check(HealthCheckRequest(service=name))
    assert answer.status == HealthCheckResponse.SERVING


async def test_check_of_another_service(client: Client) -> None:
    """It is not found."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.stub.Check(HealthCheckRequest(service="b.Service"))
    trailers = dict(caught.value.trailing_metadata() or ())
    assert (caught.value.code(), trailers[REASON]) == (grpc.StatusCode.NOT_FOUND, "service")


async def test_list(client: Client) -> None:
    """All of them."""
    answer = await client.stub.List(HealthListRequest())
    assert {name: each.status for name, each in answer.statuses.items()} == {
        "": HealthCheckResponse.SERVING,
        "a.Service": HealthCheckResponse.SERVING,
    }


@NAMES
async def test_watch(client: Client, name: str) -> None:
    """It serves, until the stream ends with the server."""
    watch = client.stub.Watch(HealthCheckRequest(service=name))
    assert (await watch.read()).status == HealthCheckResponse.SERVING
    client.guarded.end_streams()
    assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_watch_of_another_service(client: Client) -> None:
    """Unknown, and the stream stays open, as health.proto wants it."""
    watch = client.stub.Watch(HealthCheckRequest(service="b.Service"))
    assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    assert not watch.done()
    watch.cancel()
