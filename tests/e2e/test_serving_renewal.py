"""What the ports show at the TLS handshake: renewed while the server runs, without ending what is connected."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.real.dev_server import Certificate, Key, Server, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that renews its own certificate every five seconds."""
    settings = {"MESHCA__WORKERS": "1", "MESHCA__SERVING__LIFETIME": "10s"}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


async def shown(server: Server, endpoint: str, held: Certificate, folder: Path) -> x509.Certificate:
    """The certificate at the handshake of a new connection, verified by the root and the name."""
    (folder / "pair").write_bytes(held.key.pem + held.chain)
    context = ssl.create_default_context(cadata=server.root.decode())
    context.load_cert_chain(folder / "pair")
    host, _, port = server.endpoint(endpoint).rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    try:
        return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    finally:
        writer.transport.abort()


async def create(server: Server, channel: grpc.aio.Channel) -> None:
    """One call over this very connection."""
    stub: Any = IstioCertificateServiceStub(channel)
    metadata = (("authorization", f"Bearer {server.token()}"),)
    await stub.CreateCertificate(IstioCertificateRequest(csr=Key().csr), metadata=metadata, timeout=20)


@pytest.mark.parametrize("endpoint", ["endpoint", "endpoint-mtls"])
async def test_new_connections_see_the_new_one(server: Server, tmp_path: Path, endpoint: str) -> None:
    """Both ports change what they show; a stream and calls of an older connection go on past the old one's end."""
    held = await server.create(server.token())
    first = await shown(server, endpoint, held, tmp_path)
    async with server.channel(held if endpoint == "endpoint-mtls" else None) as channel:
        await create(server, channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())  # ends with its connection
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        second = await renewed(server, endpoint, held, tmp_path, first)
        await asyncio.sleep((first.not_valid_after_utc - datetime.now(UTC)).total_seconds() + 1)
        await create(server, channel)
        assert not watch.done()
    assert second.public_key() != first.public_key()
    assert second.not_valid_after_utc > first.not_valid_after_utc


async def renewed(
    server: Server, endpoint: str, held: Certificate, folder: Path, first: x509.Certificate
) -> x509.Certificate:
    """What is shown once it is no longer the first; every handshake until then succeeds."""
    for _ in range(300):
        now = await shown(server, endpoint, held, folder)
        if now.serial_number != first.serial_number:
            return now
        await asyncio.sleep(0.1)
    raise AssertionError("waited in vain")
