"""Bytes that are no message, to every method there is: the same answer, and nothing of a library's text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.real.dev_server import CALL_SECONDS, Server, reason, refused, running_server

GARBAGE = b"\xff\xff\xff"
SETTINGS = {"MESHCA__WORKERS": "1", "MESHCA__SDS__SERVER_KEYS": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with every service that it can have."""
    with running_server(tmp_path_factory.mktemp("ca"), settings=SETTINGS) as running:
        yield running


def methods(server: Server) -> list[MethodDescriptor]:
    """All that reflection tells."""
    with grpc.secure_channel(server.endpoint(), grpc.ssl_channel_credentials(server.root)) as channel:
        offered = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(offered)
        services = [pool.FindServiceByName(name) for name in offered.get_services()]
        return [method for service in services for method in service.methods]


async def ending(channel: Any, method: MethodDescriptor, token: str) -> grpc.aio.AioRpcError:
    """How a call with garbage ends."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = (("authorization", f"Bearer {token}"),)
    call: Any
    if method.client_streaming:
        call = channel.stream_stream(path)(iter([GARBAGE]), metadata=metadata, timeout=CALL_SECONDS)
    elif method.server_streaming:
        call = channel.unary_stream(path)(GARBAGE, metadata=metadata, timeout=CALL_SECONDS)
    else:
        call = channel.unary_unary(path)(GARBAGE, metadata=metadata, timeout=CALL_SECONDS)
    return await refused(call if isinstance(call, grpc.aio.UnaryUnaryCall) else _all(call))


async def _all(answers: Any) -> None:
    async for _ in answers:
        pass


async def test_every_method(server: Server) -> None:
    """InvalidArgument, reason `message`, a request id: of all kinds of methods and of all services."""
    found, token = methods(server), server.token()
    kinds = {(method.client_streaming, method.server_streaming) for method in found}
    assert kinds == {(False, False), (False, True), (True, True)}
    async with server.channel() as channel:
        for method in found:
            error = await ending(channel, method, token)
            answer = (method.full_name, error.code(), reason(error))
            assert answer == (method.full_name, grpc.StatusCode.INVALID_ARGUMENT, "message")
            assert dict(error.trailing_metadata() or ())["meshca-request-id"]
            assert "pars" not in (error.details() or "")
