"""Administration over mTLS against a real server: who has a role, who has none, and who only says so."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca._proto.meshca.admin.v1 import admin_pb2, roots_pb2
from meshca._proto.meshca.admin.v1.admin_pb2_grpc import AdminStub
from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from tests.real.dev_server import CALL_SECONDS, MESHCA, Server, reason, refused, running_server

VIEWER = "spiffe://cluster.local/ns/ops/sa/viewer"
SHOP_VIEWER = "spiffe://cluster.local/ns/ops/sa/shop"
ROLES = [
    {"role": "viewer", "spiffe_ids": [VIEWER]},
    {"role": "viewer", "spiffe_ids": [SHOP_VIEWER], "namespaces": ["shop"]},
]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data directory with a name that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Server]:
    """Two workers, and administrators on the mTLS port."""
    settings = {
        "MESHCA__WORKERS": "2",
        "MESHCA__DATA_DIR": str(data),
        "MESHCA__ADMIN__ROLES": json.dumps(ROLES),
    }
    with running_server(tmp_path_factory.mktemp("dev"), settings=settings) as server:
        yield server


async def namespaces(server: Server, namespace: str, name: str) -> list[str]:
    """Namespaces of the records that an administrator sees; the server's own certificates have none."""
    shown = await server.create(server.token(namespace, name))
    async with server.channel(shown) as channel:
        stub: Any = AdminStub(channel)
        call = stub.ListIssuances(admin_pb2.ListIssuancesRequest(), timeout=CALL_SECONDS)
        return [one.namespace async for one in call]


def test_an_administrator_by_its_certificate(server: Server) -> None:
    """Whichever worker it reaches: the parent answers."""

    async def versions() -> set[str]:
        shown = await server.create(server.token("ops", "viewer"))
        found = set()
        for _ in range(8):
            async with server.channel(shown) as channel:
                stub: Any = AdminStub(channel)
                status = await stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_SECONDS)
                found.add(f"{len(status.workers)} workers")
        return found

    assert asyncio.run(versions()) == {"2 workers"}


def test_an_administrator_of_a_namespace_sees_that(server: Server) -> None:
    """Of the ledger."""
    asyncio.run(server.create(server.token("shop", "web")))
    assert set(asyncio.run(namespaces(server, "ops", "viewer"))) == {"", "shop", "ops"}
    assert set(asyncio.run(namespaces(server, "ops", "shop"))) == {"shop"}


def test_a_viewer_changes_nothing(server: Server) -> None:
    """PERMISSION_DENIED, by the parent."""

    async def refusal() -> grpc.aio.AioRpcError:
        shown = await server.create(server.token("ops", "viewer"))
        async with server.channel(shown) as channel:
            stub: Any = RootsStub(channel)
            return await refused(stub.PrepareRoot(roots_pb2.PrepareRootRequest(), timeout=CALL_SECONDS))

    assert reason(asyncio.run(refusal())) == "role"


@pytest.mark.parametrize("certificate", [True, False], ids=["a workload", "a token"])
def test_whoever_has_no_role_is_told_nothing(server: Server, *, certificate: bool) -> None:
    """A workload with its certificate, and the token of an administrator on the token port."""

    async def refusal() -> grpc.aio.AioRpcError:
        shown = await server.create(server.token("shop", "web")) if certificate else None
        metadata = (
            ("authorization", f"Bearer {server.token('ops', 'viewer')}"),
            ("meshca-admin-identity", VIEWER),
        )
        async with server.channel(shown) as channel:
            stub: Any = RootsStub(channel)
            call = stub.ListRoots(roots_pb2.ListRootsRequest(), metadata=metadata, timeout=CALL_SECONDS)
            return await refused(call)

    error = asyncio.run(refusal())
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "no_role")


def test_only_a_worker_speaks_to_the_parent_for_others(server: Server, data: Path) -> None:
    """Another process of the same user does not."""

    async def refusal() -> grpc.aio.AioRpcError:
        options = (("grpc.default_authority", "localhost"),)
        async with grpc.aio.insecure_channel(f"unix:{data / 'workers.sock'}", options=options) as channel:
            stub: Any = RootsStub(channel)
            metadata = (("meshca-admin-identity", VIEWER),)
            call = stub.ListRoots(roots_pb2.ListRootsRequest(), metadata=metadata, timeout=CALL_SECONDS)
            return await refused(call)

    error = asyncio.run(refusal())
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "not_a_worker")


def test_the_command_line_asks_the_same_service(server: Server) -> None:
    """Over the administrator's socket."""
    environment = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = [*MESHCA, "root", "list", "--output", "json"]
    found = subprocess.run(run, check=True, capture_output=True, text=True, env=environment)
    assert [one["state"] for one in json.loads(found.stdout)] == ["active"]
