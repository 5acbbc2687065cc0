"""Policy files under a running server: what agents, `meshca status` and the metrics see."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL
from tests.fakes.xds_client import ADS, XdsStream, xds_stream
from tests.real.dev_server import MESHCA, Server, running_server, wait_for

FAILURES = 'meshca_reload_failures_total{what="policies"}'
GOOD = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin"]}}]}]
"""
BETTER = GOOD.replace("/admin", "/secret")
BAD = {
    "not YAML": "spec: [",
    "unknown key": GOOD.replace("action: DENY", "action: DENY\n  colour: red"),
    "not supported yet": GOOD.replace("action: DENY", "action: AUDIT"),
    "other kind": GOOD.replace("AuthorizationPolicy", "PeerAuthentication"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the policies are."""
    return tmp_path_factory.mktemp("policies")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Server]:
    """A server with that folder."""
    (folder / "a.yaml").write_text(GOOD)
    settings = {"MESHCA__WORKERS": "1", "MESHCA__POLICIES__DIR": str(folder)}
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def first(server: Server) -> Any:
    """What status says of the good file."""
    return status(server)["policies"]


@pytest.fixture(autouse=True)
def _good(server: Server, folder: Path, first: Any) -> None:
    """Every test begins with the good file in force."""
    (folder / "a.yaml").write_text(GOOD)
    wait_for(lambda: status(server)["policies"] == first)


@contextlib.asynccontextmanager
async def subscribed(server: Server) -> AsyncIterator[XdsStream]:
    """An agent's stream that asked for its policies."""
    held = await server.create(server.token())
    method = f"{ADS}StreamAggregatedResources"
    async with (
        server.channel(held) as channel,
        xds_stream(channel, method, type_url=EXTENSION_TYPE_URL, node_id="web-0") as stream,
    ):
        await stream.ask(AUTHZ)
        yield stream


async def held_by(server: Server) -> bytes:
    """The policies that a fresh agent is given."""
    async with subscribed(server) as stream:
        (body,) = (await stream.answer()).values()
        return body


def meshca(server: Server, *arguments: str) -> str:
    """What a command says of the server."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = subprocess.run([*MESHCA, *arguments], check=True, capture_output=True, text=True, env=environment)
    return run.stdout


def status(server: Server) -> Any:
    """The status as scripts get it."""
    return json.loads(meshca(server, "status", "--output", "json"))


def _settled(server: Server, failures: float) -> bool:
    return server.metric(FAILURES) == failures + 1


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
async def test_bad_file(server: Server, folder: Path, first: Any, text: str) -> None:
    """The last good set stays in force, is given to fresh agents too, and status and metrics say so."""
    failures, good = server.metric(FAILURES), await held_by(server)
    (folder / "a.yaml").write_text(text)
    await asyncio.to_thread(wait_for, lambda: _settled(server, failures))
    after = status(server)["policies"]
    assert str(folder / "a.yaml") in after.pop("error")
    assert first == {**after, "error": ""}
    shown = meshca(server, "status")
    assert "PROBLEMS" in shown
    assert "the policies on disk are not in force" in " ".join(shown.split())
    assert await held_by(server) == good


async def test_bad_file_beside_a_good_change(server: Server, folder: Path) -> None:
    """Nothing of a set with a bad file is taken: half a set could let in whom the other half keeps out."""
    failures, good = server.metric(FAILURES), await held_by(server)
    (folder / "b.yaml").write_text("spec: [")
    (folder / "a.yaml").write_text(BETTER)
    await asyncio.to_thread(wait_for, lambda: server.metric(FAILURES) > failures)
    assert await held_by(server) == good
    (folder / "b.yaml").unlink()
    await asyncio.to_thread(wait_for, lambda: not status(server)["policies"]["error"])
    assert await held_by(server) != good


async def test_mended(server: Server, folder: Path, first: Any) -> None:
    """An open stream hears nothing of a bad file; once mended it gets the new set, and all is well."""
    async with subscribed(server) as stream:
        before, failures = await stream.answer(), server.metric(FAILURES)
        await stream.ack()
        (folder / "a.yaml").write_text("spec: [")
        await asyncio.to_thread(wait_for, lambda: _settled(server, failures))
        (folder / "a.yaml").write_text(BETTER)
        second = await stream.answer()  # the next that comes is the mended one
        assert b"/secret" in b"".join(second.values())
        assert second != before
    await asyncio.to_thread(wait_for, lambda: not status(server)["policies"]["error"])
    mended = status(server)
    assert mended["policies"]["version"] != first["version"]
    assert "PROBLEMS" not in meshca(server, "status")
    assert server.metric(FAILURES) == failures + 1


async def test_mended_to_what_is_in_force(server: Server, folder: Path, first: Any) -> None:
    """The old text written back clears the problem, though nothing else changes."""
    failures = server.metric(FAILURES)
    (folder / "a.yaml").write_text("spec: [")
    await asyncio.to_thread(wait_for, lambda: _settled(server, failures))
    (folder / "a.yaml").write_text(GOOD)
    await asyncio.to_thread(wait_for, lambda: status(server)["policies"] == first)
