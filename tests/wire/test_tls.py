"""Facts about the TLS ports, seen by clients over real connections."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from meshca.secret import Secret
from meshca.wire.interceptors import Guarded
from meshca.wire.tls import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, Serving, ServingMaterial, server_options
from tests.real.pki import Leaf, Pki

AGE = timedelta(minutes=30)
BOTH_PORTS = pytest.mark.parametrize("port", ["token_port", "mtls_port"])


def material(server: Pki, clients: Pki) -> ServingMaterial:
    """A server's certificate for localhost, and whose clients it trusts."""
    leaf = server.leaf(dns=["localhost"])
    chain = (leaf.certificate + server.root()).decode()
    return ServingMaterial(chain=chain, key=Secret(leaf.key.decode()), client_roots=clients.root().decode())


@dataclass
class Served:
    """A server with both ports."""

    serving: Serving
    pki: Pki
    token_port: int
    mtls_port: int


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with gRPC's health service on both ports."""
    pki = Pki()
    serving = Serving(material(pki, pki))
    server = grpc.aio.server(options=server_options(AGE))
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), Guarded(server))
    ports = [
        server.add_secure_port("localhost:0", serving.credentials(client_certificates=asked))
        for asked in (False, True)
    ]
    await server.start()
    yield Served(serving, pki, *ports)
    await server.stop(None)


async def check(
    port: int, trusted: Pki, leaf: Leaf | None = None, **request: str
) -> health_pb2.HealthCheckResponse:
    """Ask the health service over a fresh connection."""
    credentials = grpc.ssl_channel_credentials(
        trusted.root(), leaf.key if leaf else None, leaf.certificate if leaf else None
    )
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        return await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(**request))


async def handshake(port: int, context: ssl.SSLContext) -> ssl.SSLObject:
    """A TLS connection of Python's own ssl module."""
    _, writer = await asyncio.open_connection("localhost", port, ssl=context, server_hostname="localhost")
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return connection


def client(served: Served, port: str, folder: Path) -> ssl.SSLContext:
    """A client that shows a certificate where one is demanded."""
    leaf = served.pki.leaf("spiffe://cluster.local/ns/a/sa/b") if port == "mtls_port" else None
    return served.pki.client(leaf, folder)


async def test_token_port_asks_for_no_certificate(served: Served) -> None:
    """A client without a certificate is served on the token port."""
    assert (await check(served.token_port, served.pki)).status == health_pb2.HealthCheckResponse.SERVING


async def test_mtls_port_takes_certificates_below_the_roots(served: Served) -> None:
    """A client with a certificate below the client roots is served on the mTLS port."""
    leaf = served.pki.leaf("spiffe://cluster.local/ns/a/sa/b")
    assert (await check(served.mtls_port, served.pki, leaf)).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("own", [True, False], ids=["no certificate", "foreign certificate"])
async def test_mtls_port_refuses_others(served: Served, *, own: bool) -> None:
    """Without a certificate, or with a foreign one, the handshake fails: a client sees Unavailable."""
    leaf = None if own else Pki().leaf("spiffe://cluster.local/ns/a/sa/b")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(served.mtls_port, served.pki, leaf)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_replaced_certificate_is_live_at_the_next_connection(served: Served) -> None:
    """A renewed serving certificate is shown to the next connection on both ports, with no restart."""
    other = Pki()
    served.serving.replace(material(other, served.pki))
    await check(served.token_port, other)
    await check(served.mtls_port, other, served.pki.leaf("spiffe://cluster.local/ns/a/sa/b"))
    with pytest.raises(grpc.aio.AioRpcError):
        await check(served.token_port, served.pki)


async def test_replaced_client_roots_are_live_at_the_next_connection(served: Served) -> None:
    """New client roots hold for the next connection: old certificates are refused, new ones served."""
    other = Pki()
    served.serving.replace(material(served.pki, other))
    await check(served.mtls_port, served.pki, other.leaf("spiffe://cluster.local/ns/a/sa/b"))
    with pytest.raises(grpc.aio.AioRpcError):
        await check(served.mtls_port, served.pki, served.pki.leaf("spiffe://cluster.local/ns/a/sa/b"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@BOTH_PORTS
async def test_tls_versions_and_alpn(served: Served, port: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
    """TLS 1.2 and 1.3 are spoken on both ports, with h2 as the application protocol."""
    context = client(served, port, tmp_path)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = await handshake(getattr(served, port), context)
    assert connection.selected_alpn_protocol() == "h2"


@BOTH_PORTS
async def test_tls_1_1_is_refused(served: Served, port: str, tmp_path: Path) -> None:
    """Nothing below TLS 1.2 is spoken, whoever asks."""
    context = client(served, port, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns that these versions are obsolete, which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await handshake(getattr(served, port), context)


async def test_root_is_shown(served: Served, tmp_path: Path) -> None:
    """The chain that the server shows ends with the root, so that a client can pin its fingerprint."""
    context = served.pki.client(None, tmp_path)
    connection = await handshake(served.token_port, context)
    sslobj = connection._sslobj  # type: ignore[attr-defined] # Python 3.13 makes this public
    shown = [
        x509.load_pem_x509_certificate(each.public_bytes().encode()) for each in sslobj.get_unverified_chain()
    ]
    assert shown[-1].public_key() == served.pki.key.public_key()


@BOTH_PORTS
async def test_large_message_is_refused_by_its_length(served: Served, port: str) -> None:
    """More than is ever read is answered by gRPC itself, in words that name both sizes."""
    leaf = served.pki.leaf("spiffe://cluster.local/ns/a/sa/b") if port == "mtls_port" else None
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(getattr(served, port), served.pki, leaf, service="x" * MAX_MESSAGE_BYTES)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"larger than max ({MAX_MESSAGE_BYTES + 4} vs. {MAX_MESSAGE_BYTES})" in (caught.value.details() or "")


def test_options_bound_every_connection() -> None:
    """Message, metadata, streams and age of a connection are bounded, and the port can be shared."""
    options = dict(server_options(timedelta(minutes=1)))
    assert options["grpc.max_receive_message_length"] == MAX_MESSAGE_BYTES
    assert options["grpc.absolute_max_metadata_size"] == MAX_METADATA_BYTES
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.max_concurrent_streams"] > 0
    assert options["grpc.so_reuseport"] == 1
