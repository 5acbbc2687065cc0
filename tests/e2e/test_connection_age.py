"""A connection does not outlive its certificate for long: it is told to go elsewhere, and calls do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.real.dev_server import Key, Server, running_server

SETTINGS = {"MESHCA__WORKERS": "1", "MESHCA__SERVING__MAX_CONNECTION_AGE": "1s"}
PATIENCE = 60.0  # half an hour, the age by default, is far beyond it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose connections reach their age after a second."""
    with running_server(tmp_path_factory.mktemp("ca"), settings=SETTINGS) as running:
        yield running


@pytest.mark.parametrize("by_certificate", [False, True], ids=["token port", "mTLS port"])
async def test_connection_is_told_to_go(server: Server, *, by_certificate: bool) -> None:
    """A held connection is left for new calls when it reaches its age; its stream goes on, a new call succeeds."""
    held = await server.create(server.token())
    async with server.channel(held if by_certificate else None) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())  # ends with its connection
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), PATIENCE)
        assert not watch.done()
        create: Any = IstioCertificateServiceStub(channel).CreateCertificate
        metadata = () if by_certificate else (("authorization", f"Bearer {server.token()}"),)
        answer = await create(IstioCertificateRequest(csr=Key().csr), metadata=metadata, timeout=PATIENCE)
        assert answer.cert_chain
        assert not watch.done()
