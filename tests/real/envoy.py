"""A real Envoy for tests: started from a bootstrap of ours, on free ports, its secrets and policies from files.

    async with running_envoy(build(service), tmp_path) as envoy:
        await envoy.ready()
        port = (await envoy.ports())["inbound-any-8080"]

`from_files` swaps each xDS subscription of a bootstrap for a file in a folder, so that a test can push a
secret or a policy set by `push` without a server; everything else stays as it is in production.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from meshca.app import envoy_process
from meshca.app.envoy_process import EnvoyProcess
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ
from meshca.sidecar.binary import find_envoy

__all__ = ["find_envoy", "from_files", "push", "running_envoy"]


@contextlib.asynccontextmanager
async def running_envoy(
    bootstrap: Mapping[str, Any], folder: Path, *, name: str = "envoy"
) -> AsyncIterator[EnvoyProcess]:
    """An Envoy whose administration page answers, on a port of its own; always ended."""
    binary = find_envoy()
    assert binary is not None, 'mark the test with @pytest.mark.real("envoy")'
    with_admin = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        **bootstrap,
    }
    async with envoy_process.running(binary, with_admin, folder, clock=SystemClock(), name=name) as envoy:
        yield envoy


def from_files(bootstrap: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The bootstrap with every subscription read from `<folder>/<resource name>.pb`."""
    swapped: dict[str, Any] = _swap(copy.deepcopy(dict(bootstrap)), folder)
    return swapped


def push(folder: Path, type_url: str, name: str, body: bytes, *, version: str = "") -> None:
    """Put a resource where Envoy watches for it; a rename, so that it never sees half a file."""
    resource = AnyMessage(type_url=type_url, value=body)
    response = DiscoveryResponse(version_info=version, type_url=type_url, resources=[resource])
    fresh = folder / f".{name}.pb"
    fresh.write_bytes(response.SerializeToString())
    fresh.rename(folder / f"{name}.pb")


def _swap(node: Any, folder: Path) -> Any:
    if isinstance(node, list):
        return [_swap(item, folder) for item in node]
    if not isinstance(node, dict):
        return node
    if "sds_config" in node:
        return {**node, "sds_config": _file(folder, node["name"])}
    if "config_discovery" in node:
        discovery = {**node["config_discovery"], "config_source": _file(folder, AUTHZ)}
        return {**node, "config_discovery": discovery}
    return {key: _swap(value, folder) for key, value in node.items()}


def _file(folder: Path, name: str) -> dict[str, Any]:
    place = folder / f"{name}.pb"
    if not place.exists():
        place.write_bytes(b"")  # Envoy wants the file to exist; an empty one is an answer without resources
    source = {"path": str(place)}
    return {"resource_api_version": "V3", "initial_fetch_timeout": "0s", "path_config_source": source}
