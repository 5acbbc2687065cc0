"""The real Envoy with our bootstrap: who gets in, what is refused before policies, what the application learns."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from meshca.authz.model import PolicySet
from meshca.config.resource_names import DEFAULT, SECRET_TYPE_URL
from meshca.errors import Unavailable
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, ServiceBootstrap
from tests.real.envoy import push, running_envoy
from tests.real.mesh_service import ME, MeshService, mesh_service
from tests.real.pki import Leaf, Pki, certificate_secret
from tests.real.raw_http import RawClient

pytestmark = [pytest.mark.real("envoy"), pytest.mark.asyncio(loop_scope="module")]
WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshService]:
    """One open service for all tests here that do not change it."""
    folder: Path = tmp_path_factory.mktemp("inbound")
    async with mesh_service(folder) as running:
        await running.enforce(PolicySet())
        yield running


async def test_denies_before_the_first_policy_set(tmp_path: Path) -> None:
    """Until policies arrive the answer is 403, and after "no policy" it is the application's."""
    async with mesh_service(tmp_path) as fresh, fresh.peer(WEB) as web:
        before = (await web.request("GET", "/")).status
        await fresh.enforce(PolicySet())
        assert (before, (await web.request("GET", "/")).status) == (403, 200)


async def test_opens_no_port_without_an_identity(tmp_path: Path) -> None:
    """While nobody gives Envoy its secrets the listener stays closed, however long it takes."""
    inbound = Inbound(port=0, app_port=1, address="127.0.0.1")
    source = AgentSocket(path=tmp_path / "nobody.sock")
    built = build(ServiceBootstrap(identity=ME, source=source, inbound=(inbound,)))
    async with running_envoy(built, tmp_path) as envoy:
        with pytest.raises(Unavailable, match="not ready"):
            await envoy.ready(within=0.3)
        assert (await envoy.get("/ready"))[0] == 503
        (port,) = (await envoy.ports()).values()  # bound, so that nobody else takes it, but not listening
        async with RawClient(port) as client:
            with pytest.raises(ConnectionRefusedError):
                await client.request("GET", "/")


async def _refused(service: MeshService, leaf: Leaf | None) -> bool:
    """Whether a client with this certificate is refused in the handshake."""
    context = service.pki.client(leaf, service.folder)
    try:
        async with RawClient(service.port, context) as client:
            await client.request("GET", "/")
    except (OSError, ssl.SSLError):
        return True
    return False


async def test_refuses_no_certificate(service: MeshService) -> None:
    """A TLS client without a certificate does not get past the handshake."""
    assert await _refused(service, None)


async def test_refuses_a_self_made_certificate(service: MeshService) -> None:
    """The right name in a certificate of another root is worth nothing."""
    assert await _refused(service, Pki().leaf(WEB))


@pytest.mark.parametrize(
    "uris",
    [
        pytest.param((), id="no-uri"),
        pytest.param(("spiffe://other.td/ns/shop/sa/web",), id="other-trust-domain"),
        pytest.param(("spiffe://cluster.local.evil/ns/shop/sa/web",), id="longer-trust-domain"),
        pytest.param(("https://cluster.local/ns/shop/sa/web",), id="other-scheme"),
    ],
)
async def test_refuses_other_names(service: MeshService, uris: tuple[str, ...]) -> None:
    """A certificate of our own root that names nobody of the trust domain is refused."""
    assert await _refused(service, service.pki.leaf(*uris))


async def test_a_dns_name_is_not_an_identity(service: MeshService) -> None:
    """Text that looks like a SPIFFE ID counts only as a URI name."""
    assert await _refused(service, service.pki.leaf(dns=["spiffe://cluster.local/ns/shop/sa/web"]))


@pytest.mark.parametrize(
    ("starts", "lasts"),
    [
        pytest.param(timedelta(days=-2), timedelta(days=1), id="expired"),
        pytest.param(timedelta(days=1), timedelta(days=1), id="not-yet"),
    ],
)
async def test_refuses_certificates_out_of_time(service: MeshService, starts: timedelta, lasts: timedelta) -> None:
    """Validity is checked in each handshake."""
    assert await _refused(service, service.pki.leaf(WEB, starts=datetime.now(UTC) + starts, lasts=lasts))


async def test_plaintext_is_no_way_in(service: MeshService) -> None:
    """A plain HTTP request gets no answer."""
    async with RawClient(service.port) as client:
        with pytest.raises(OSError, match=r"."):
            await client.request("GET", "/")


async def test_tells_the_application_who_calls(service: MeshService) -> None:
    """The application reads the proven identity, not what the caller claims in a header."""
    claimed = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/shop/sa/admin"}
    async with service.peer(WEB) as web:
        answer = await web.request("GET", "/", claimed)
    told = json.loads(answer.body)["headers"]["x-forwarded-client-cert"].split(";")
    assert [item for item in told if item.startswith("URI=")] == [f"URI={WEB}"]


# What Envoy takes from callers that it holds to be internal, and what it only hides from the others.
ENVOY_HEADERS = {
    "x-envoy-retry-on": "5xx,retriable-status-codes",
    "x-envoy-max-retries": "3",
    "x-envoy-retry-grpc-on": "cancelled",
    "x-envoy-retriable-status-codes": "500",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-upstream-alt-stat-name": "mine",
    "x-envoy-original-path": "/admin",
    "x-envoy-decorator-operation": "mine",
    "x-envoy-internal": "true",
    "x-envoy-external-address": "192.0.2.1",
    "x-envoy-force-trace": "true",
}


@pytest.mark.parametrize("more", [{}, {"x-forwarded-for": "10.0.0.1"}], ids=["plain", "said-to-be-forwarded"])
async def test_a_peer_does_not_steer_envoy(service: MeshService, more: Mapping[str, str]) -> None:
    """No peer is internal: a failed request reaches the application once, and none of Envoy's headers does."""
    async with service.peer(WEB) as web:
        before = json.loads((await web.request("GET", "/")).body)["calls"]
        failed = await web.request("POST", "/broken", {**ENVOY_HEADERS, **more, "content-length": "0"})
    told = json.loads(failed.body)
    assert (failed.status, told["calls"] - before) == (500, 1)
    assert [name for name in told["headers"] if name.startswith("x-envoy-")] == []


async def test_refuses_underscored_headers(service: MeshService) -> None:
    """`X_Forwarded_Client_Cert` would read as the real header in CGI applications."""
    async with service.peer(WEB) as web:
        assert (await web.request("GET", "/", {"x_forwarded_client_cert": "URI=x"})).status == 400


async def test_resumes_no_session(service: MeshService) -> None:
    """A second connection with the first one's session makes a full handshake with certificates."""
    context = service.pki.client(service.pki.leaf(WEB), service.folder)
    _, session = await asyncio.to_thread(_connect, service.port, context, None)
    reused, _ = await asyncio.to_thread(_connect, service.port, context, session)
    assert not reused


def _connect(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool | None, ssl.SSLSession | None]:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, session=session) as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        tls.recv(1)
        return tls.session_reused, tls.session


async def test_connections_end_with_age(tmp_path: Path) -> None:
    """A connection is closed at its greatest age though it is in use; the next request opens another."""
    async with mesh_service(tmp_path, max_connection_age=timedelta(milliseconds=200)) as short:
        await short.enforce(PolicySet())
        async with asyncio.timeout(20), short.peer(WEB) as web:
            while not await _total(short, "downstream_cx_max_duration_reached"):
                try:
                    await web.request("GET", "/")
                except ConnectionError:
                    break


async def _total(service: MeshService, counter: str) -> int:
    return sum(int(value) for value in (await service.envoy.stats(f"{counter}$")).values())


async def test_new_certificates_serve_at_once(tmp_path: Path) -> None:
    """A pushed certificate is the one that the next handshake shows."""
    async with mesh_service(tmp_path) as fresh:
        await fresh.enforce(PolicySet())
        before = await asyncio.to_thread(_certificate, fresh)
        renewed = fresh.pki.leaf(str(ME))
        push(fresh.folder, SECRET_TYPE_URL, DEFAULT, certificate_secret(renewed))
        async with asyncio.timeout(20):
            while (now := await asyncio.to_thread(_certificate, fresh)) == before:
                continue
    assert now == ssl.PEM_cert_to_DER_cert(renewed.certificate.decode())


def _certificate(service: MeshService) -> bytes | None:
    context = service.pki.client(service.pki.leaf(WEB), service.folder)
    with socket.create_connection(("127.0.0.1", service.port)) as plain, context.wrap_socket(plain) as tls:
        return tls.getpeercert(binary_form=True)
