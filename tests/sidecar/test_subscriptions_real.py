"""The real Envoy subscribes as the bootstrap says: by the agent's socket, or at the CA with its token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest

from meshca.app.envoy_process import EnvoyProcess
from meshca.authz.compile import compile_rbac
from meshca.authz.model import PolicySet
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.errors import Unavailable
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, DirectFromCa, Inbound, Outbound, ServiceBootstrap
from tests.fakes.echo_app import echo_app
from tests.real.envoy import running_envoy
from tests.real.mesh_service import ME, WORKLOAD
from tests.real.pki import Pki, certificate_secret, roots_secret
from tests.real.raw_http import RawClient
from tests.real.xds_server import XdsServer

pytestmark = pytest.mark.real("envoy")
WEB = "spiffe://cluster.local/ns/shop/sa/web"


def resources(pki: Pki) -> Mapping[str, tuple[str, bytes]]:
    """Everything that a service asks for."""
    return {
        DEFAULT: (SECRET_TYPE_URL, certificate_secret(pki.leaf(str(ME)))),
        ROOTCA: (SECRET_TYPE_URL, roots_secret(pki.root())),
        AUTHZ: (EXTENSION_TYPE_URL, compile_rbac(PolicySet(), WORKLOAD)),
    }


@contextlib.asynccontextmanager
async def ca(xds: XdsServer, pki: Pki) -> AsyncIterator[int]:
    """A TLS server with the name `ca.mesh` on a free port."""
    leaf = pki.leaf(dns=["ca.mesh"])
    server = grpc.aio.server()
    xds.add_to(server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(leaf.key, leaf.certificate)]))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def direct(port: int, folder: Path) -> DirectFromCa:
    """The CA on a port, with root and token in a folder."""
    files = {"root_file": folder / "root.pem", "token_file": folder / "token"}
    return DirectFromCa(host="127.0.0.1", port=port, server_name="ca.mesh", **files)


async def answers(envoy: EnvoyProcess, app_port: int, pki: Pki, folder: Path) -> int:
    """The status of a request to the service, once its policies are there."""
    await envoy.ready()
    port = (await envoy.ports())[f"inbound-any-{app_port}"]
    leaf = pki.client(pki.leaf(WEB), folder)
    async with asyncio.timeout(20), RawClient(port, leaf) as web:
        while (answer := await web.request("GET", "/")).status == 403:
            continue
    return answer.status


async def test_from_the_agents_socket(tmp_path: Path) -> None:
    """Secrets and policies that an agent serves on its socket make a service."""
    pki = Pki()
    server = grpc.aio.server()
    XdsServer(resources(pki)).add_to(server)
    server.add_insecure_port(f"unix:{tmp_path / 'agent.sock'}")
    await server.start()
    try:
        async with echo_app() as app_port:
            inbound = Inbound(port=0, app_port=app_port, address="127.0.0.1")
            source = AgentSocket(path=tmp_path / "agent.sock")
            built = build(ServiceBootstrap(identity=ME, source=source, inbound=(inbound,)))
            async with running_envoy(built, tmp_path) as envoy:
                assert await answers(envoy, app_port, pki, tmp_path) == 200
    finally:
        await server.stop(None)


async def test_straight_from_the_ca(tmp_path: Path) -> None:
    """With its token as call credentials, Envoy gets everything from the CA, in both directions."""
    pki = Pki()
    (tmp_path / "root.pem").write_bytes(pki.root())
    (tmp_path / "token").write_text("first")
    xds = XdsServer(resources(pki))
    async with ca(xds, pki) as port, echo_app() as app_port:
        inbound = Inbound(port=0, app_port=app_port, address="127.0.0.1")
        outbound = Outbound(listen_port=0, host="127.0.0.1", port=1, identities=(ME,))
        built = build(
            ServiceBootstrap(identity=ME, source=direct(port, tmp_path), inbound=(inbound,), outbound=(outbound,))
        )
        async with running_envoy(built, tmp_path) as envoy:
            assert await answers(envoy, app_port, pki, tmp_path) == 200
    assert {header for _, header in xds.shown} == {"Bearer first"}
    assert {name for name, _ in xds.shown} == {DEFAULT, ROOTCA, AUTHZ}


async def test_token_is_read_again_for_each_stream(tmp_path: Path) -> None:
    """A token that was replaced on disk is shown by the next streams."""
    pki = Pki()
    (tmp_path / "root.pem").write_bytes(pki.root())
    (tmp_path / "token").write_text("first")
    xds = XdsServer(resources(pki))
    async with ca(xds, pki) as port:
        inbound = Inbound(port=0, app_port=1, address="127.0.0.1")
        built = build(ServiceBootstrap(identity=ME, source=direct(port, tmp_path), inbound=(inbound,)))
        async with running_envoy(built, tmp_path) as envoy:
            await envoy.ready()
            (tmp_path / "fresh").write_text("second")
            (tmp_path / "fresh").rename(tmp_path / "token")
            xds.end_streams()
            async with asyncio.timeout(20):
                while (DEFAULT, "Bearer second") not in xds.shown:
                    await envoy.get("/ready")


async def test_a_ca_of_another_root_is_not_believed(tmp_path: Path) -> None:
    """Envoy does not show its token to a server whose certificate the root file does not cover."""
    (tmp_path / "root.pem").write_bytes(Pki().root())
    (tmp_path / "token").write_text("secret")
    impostor = Pki()
    xds = XdsServer(resources(impostor))
    async with ca(xds, impostor) as port:
        inbound = Inbound(port=0, app_port=1, address="127.0.0.1")
        built = build(ServiceBootstrap(identity=ME, source=direct(port, tmp_path), inbound=(inbound,)))
        async with running_envoy(built, tmp_path) as envoy:
            with pytest.raises(Unavailable, match="not ready"):
                await envoy.ready(within=0.5)
    assert xds.shown == []
