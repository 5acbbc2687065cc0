"""The administrators' sockets: private, gone with their server, and open to nobody who only says who they are."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshca._proto.meshca.admin.v1.roots_pb2 import ListRootsRequest
from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from meshca.app.admin_client import connect
from meshca.app.admin_server import IDENTITY, admin_serving
from meshca.config.admin import AdminConfig, AdminRole
from meshca.errors import ConfigError, Unavailable
from meshca.wire.status import REASON
from tests.fakes.admin_server import administration, workers_socket


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="admin-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def serving(folder: Path, *more_uids: int) -> AsyncIterator[Path]:
    """A server in a folder, for this user and others; gives its socket."""
    path = folder / "admin.sock"
    config = AdminConfig(uids=(os.geteuid(), *more_uids))
    async with admin_serving(path, administration(config=config)):
        yield path


def entries(folder: Path) -> list[Path]:
    """What is in a folder."""
    return list(folder.iterdir())


async def test_only_the_owner_may_open_the_socket(folder: Path) -> None:
    """The first of two checks; the list of user ids is the other."""
    async with serving(folder) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_listed_users_of_its_group_may_open_the_socket(folder: Path) -> None:
    """And nobody else's."""
    async with serving(folder, 4711) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_nothing_is_left_behind(folder: Path) -> None:
    """Neither the socket nor the private folder beside it."""
    async with serving(folder) as path, connect(path) as client:
        await client.status()
        assert len(entries(folder)) == 2
    assert entries(folder) == []


async def test_a_path_that_is_in_use_is_refused(folder: Path) -> None:
    """Another server lives there, and goes on living."""
    async with serving(folder) as path:
        with pytest.raises(ConfigError):
            async with serving(folder):
                pass
        async with connect(path) as client:
            await client.status()


OFFICER = "spiffe://cluster.local/ns/ops/sa/officer"
MTLS = AdminConfig(uids=(os.geteuid(),), roles=(AdminRole(role="security_officer", spiffe_ids=(OFFICER,)),))


async def list_roots(path: Path, *claimed: str) -> object:
    """Ask a socket for the roots, with claimed identities; the reason of a refusal, or None when it answers."""
    options = (("grpc.default_authority", "localhost"),)
    async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
        stub: Any = RootsStub(channel)
        try:
            await stub.ListRoots(ListRootsRequest(), metadata=[(IDENTITY, name) for name in claimed])
        except grpc.aio.AioRpcError as error:
            return dict(error.trailing_metadata() or ()).get(REASON)
    return None


async def test_on_the_administrators_socket_nobody_speaks_for_another(folder: Path) -> None:
    """Not even the server's own user; without a claim it is who it is."""
    path = folder / "admin.sock"
    async with admin_serving(path, administration(config=MTLS)):
        assert await list_roots(path, OFFICER) == "claimed_identity"
        assert await list_roots(path, "") == "claimed_identity"
        assert await list_roots(path) is None


async def test_a_user_without_a_role_cannot_connect(folder: Path) -> None:
    """Its connection is closed before a byte is read."""
    path = folder / "admin.sock"
    async with admin_serving(path, administration(config=AdminConfig(uids=(os.geteuid() + 1,)))):
        with pytest.raises(Unavailable):
            async with connect(path):
                pass


async def test_grpcs_own_socket_lets_nobody_in(folder: Path) -> None:
    """Whoever finds it past the gate is nobody."""
    path = folder / "admin.sock"
    async with admin_serving(path, administration(config=MTLS)):
        (private,) = [entry for entry in entries(folder) if entry.name.startswith(".p-")]
        assert await list_roots(private / "grpc") == "unknown_peer"


async def test_a_worker_speaks_for_whom_it_has_proven() -> None:
    """Once, and by a name that a worker can prove."""
    async with workers_socket(administration(config=MTLS)) as path:
        assert await list_roots(path, OFFICER) is None
        assert await list_roots(path) == "claimed_identity"
        assert await list_roots(path, OFFICER, OFFICER) == "claimed_identity"
        assert await list_roots(path, f"uid {os.geteuid()}") == "claimed_identity"
        assert await list_roots(path, "spiffe://cluster.local/ns/shop/sa/web") == "no_role"


async def test_only_workers_that_live_may_speak() -> None:
    """Another process of the same user, and a worker that has ended, may not; asked at every call."""
    alive = {os.getpid()}
    async with workers_socket(administration(config=MTLS), lambda: alive) as path:
        assert await list_roots(path, OFFICER) is None
        alive.clear()
        assert await list_roots(path, OFFICER) == "not_a_worker"


async def test_the_workers_socket_is_private() -> None:
    """To the server's own user."""
    async with workers_socket(administration(config=MTLS)) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
