"""The real Envoy takes what is injected: the bootstrap, and the arguments of its container."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meshca.sidecar.inject_pod import inject
from meshca.sidecar.inject_settings import BOOTSTRAP, INBOUND, OUTBOUND
from tests.real.envoy import find_envoy
from tests.sidecar.manifests import pod, settings

pytestmark = pytest.mark.real("envoy")
PEER = "9001=payments.shop:8443,spiffe://cluster.local/ns/shop/sa/payments"
PORTS = {
    "inbound": {INBOUND: "18443:8080"},
    "outbound": {OUTBOUND: PEER},
    "both": {INBOUND: "18443:8080 18444:8081", OUTBOUND: PEER, "meshca.io/app-protocol": "http2"},
    "health": {INBOUND: "18443:8080", "meshca.io/health-path": "/healthz"},
}
VARIABLES = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop"}


def arguments(envoy: dict[str, Any], file: Path) -> list[str]:
    """What the kubelet would start, with the bootstrap in a file of the test."""
    assert set(VARIABLES) == {each["name"] for each in envoy["env"]}
    given = list(envoy["args"])
    for name, value in VARIABLES.items():
        given = [each.replace(f"$({name})", value) for each in given]
    given[given.index("--config-path") + 1] = str(file)
    return given


@pytest.mark.parametrize("ports", PORTS.values(), ids=PORTS)
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104 - validated only
async def test_validates(ports: dict[str, str], address: str, tmp_path: Path) -> None:
    """Without a warning."""
    new = inject(pod(ports), "shop", settings(listen_address=address))
    assert new is not None
    file = tmp_path / "bootstrap.yaml"
    file.write_text(new["metadata"]["annotations"][BOOTSTRAP])
    process = await asyncio.create_subprocess_exec(
        str(find_envoy()),
        *arguments(new["spec"]["initContainers"][1], file),
        *("--mode", "validate"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert (process.returncode, said.decode().strip()) == (0, f"configuration '{file}' OK")
