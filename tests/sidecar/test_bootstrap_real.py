"""The real Envoy's `--mode validate` accepts every variant of the bootstrap."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import (
    AdminPort,
    AdminSocket,
    AgentSocket,
    AppProtocol,
    DirectFromCa,
    Inbound,
    Outbound,
    ServiceBootstrap,
)
from tests.real.envoy import find_envoy
from tests.real.pki import Pki
from tests.sidecar.services import ME, PAYMENTS

pytestmark = pytest.mark.real("envoy")

INBOUNDS: dict[str, tuple[Inbound, ...]] = {
    "none": (),
    "one": (Inbound(port=18443, app_port=8080),),
    "two": (
        Inbound(port=18443, app_port=8080, app_protocol=AppProtocol.HTTP2, health_path="/healthz"),
        Inbound(port=18444, app_port=8081, address="::1", app_address="::1", health_path="/healthz"),
    ),
}
OUTBOUNDS: dict[str, tuple[Outbound, ...]] = {
    "none": (),
    "name": (Outbound(listen_port=19001, host="payments.shop", port=8443, identities=(PAYMENTS,)),),
    "address": (
        Outbound(listen_port=19001, host="127.0.0.1", port=8443, identities=(PAYMENTS, ME)),
        Outbound(listen_port=19002, host="::1", port=8443, identities=(ME,)),
    ),
    "one place twice": (
        Outbound(listen_port=0, host="payments.shop", port=8443, identities=(PAYMENTS,)),
        Outbound(listen_port=0, host="payments.shop", port=8443, identities=(ME,)),
    ),
}
SOURCES = ("agent", "agent-delta", "ca", "ca-named", "ca-v6")
PORTS = [pair for pair in itertools.product(INBOUNDS, OUTBOUNDS) if pair != ("none", "none")]


def source(kind: str, folder: Path) -> dict[str, Any]:
    """The fields of a service that say where its secrets come from."""
    if kind.startswith("agent"):
        return {"source": AgentSocket(path=folder / "agent.sock"), "delta": kind == "agent-delta"}
    (folder / "root.pem").write_bytes(Pki().root())
    (folder / "token").write_text("token")
    name = "istiod.istio-system.svc" if kind == "ca-named" else ""
    files = {"root_file": folder / "root.pem", "token_file": folder / "token"}
    return {
        "source": DirectFromCa(
            host="::1" if kind == "ca-v6" else "localhost", port=15012, server_name=name, **files
        )
    }


async def accepted(service: ServiceBootstrap, folder: Path) -> str:
    """What Envoy says about a bootstrap, warnings included; ends with OK when it is accepted."""
    place = folder / "bootstrap.json"
    place.write_text(json.dumps(build(service)))
    process = await asyncio.create_subprocess_exec(
        str(find_envoy()),
        *("--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c", str(place)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return f"{process.returncode} {said.decode().strip()}"


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("ports", PORTS, ids=lambda pair: f"in-{pair[0]}-out-{pair[1]}")
async def test_accepts_every_port_and_source(kind: str, ports: tuple[str, str], tmp_path: Path) -> None:
    """Every shape of service with every source of secrets is accepted, without a warning."""
    inbound, outbound = INBOUNDS[ports[0]], OUTBOUNDS[ports[1]]
    built = ServiceBootstrap(identity=ME, inbound=inbound, outbound=outbound, **source(kind, tmp_path))
    assert await accepted(built, tmp_path) == f"0 configuration '{tmp_path / 'bootstrap.json'}' OK"


@pytest.mark.parametrize("admin", ["off", "port", "socket"])
@pytest.mark.parametrize(
    "options", [{}, {"access_log": False}, {"full_handshakes": True}], ids=["plain", "quiet", "test"]
)
async def test_accepts_every_option(admin: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Administration page, access log and the options for tests are accepted in every mixture."""
    pages = {"off": None, "port": AdminPort(port=0), "socket": AdminSocket(path=tmp_path / "a.sock")}
    built = ServiceBootstrap(
        identity=ME,
        inbound=INBOUNDS["two"],
        outbound=OUTBOUNDS["address"],
        admin=pages[admin],
        **source("agent", tmp_path),
        **options,
    )
    assert await accepted(built, tmp_path) == f"0 configuration '{tmp_path / 'bootstrap.json'}' OK"
