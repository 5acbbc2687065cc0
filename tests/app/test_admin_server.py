"""The administrator's socket: private, and gone with its server."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshca.app.admin_client import connect
from meshca.app.admin_server import admin_serving
from meshca.clock import SystemClock
from meshca.errors import ConfigError
from tests.fakes.admin_server import well
from tests.fakes.ledger import FakeLedger


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="admin-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def serving(folder: Path, *more_uids: int) -> AsyncIterator[Path]:
    """A server in a folder, for this user and others; gives its socket."""
    path = folder / "admin.sock"
    clock = SystemClock()
    async with admin_serving(
        path, uids=[os.geteuid(), *more_uids], status=well, ledger=FakeLedger(clock), clock=clock
    ):
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
