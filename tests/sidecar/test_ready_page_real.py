"""The real Envoy's ready page: it answers when every port is open, and not before."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from meshca.config.resource_names import DEFAULT, ROOTCA, SECRET_TYPE_URL
from meshca.errors import Unavailable
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, ReadyPage, ServiceBootstrap
from tests.real.envoy import from_files, push, running_envoy
from tests.real.mesh_service import ME
from tests.real.pki import Pki, certificate_secret, roots_secret

pytestmark = pytest.mark.real("envoy")


def service(folder: Path) -> ServiceBootstrap:
    """A service on free ports of loopback."""
    return ServiceBootstrap(
        identity=ME,
        source=AgentSocket(path=folder / "nobody.sock"),
        inbound=(Inbound(port=0, app_port=1, address="127.0.0.1"),),
        ready=ReadyPage(port=0, address="127.0.0.1"),
    )


async def status(port: int, path: str) -> int:
    """Of a request without a certificate."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status


async def test_silent_without_an_identity(tmp_path: Path) -> None:
    """While the agent gives nothing the probe fails, so that the application waits."""
    async with running_envoy(build(service(tmp_path)), tmp_path) as envoy:
        with pytest.raises(Unavailable, match="not ready"):
            await envoy.ready(within=0.3)
        with pytest.raises(aiohttp.ClientConnectorError):
            await status((await envoy.ports())["ready"], "/ready")


async def test_answers_once_the_identity_is_there(tmp_path: Path) -> None:
    """200 for its one path, 404 for any other."""
    pki = Pki()
    push(tmp_path, SECRET_TYPE_URL, DEFAULT, certificate_secret(pki.leaf(str(ME))))
    push(tmp_path, SECRET_TYPE_URL, ROOTCA, roots_secret(pki.root()))
    async with running_envoy(from_files(build(service(tmp_path)), tmp_path), tmp_path) as envoy:
        await envoy.ready()
        port = (await envoy.ports())["ready"]
        assert [await status(port, path) for path in ("/ready", "/ready/x", "/")] == [200, 404, 404]
