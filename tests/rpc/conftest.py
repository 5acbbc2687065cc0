"""A client of the service for roots, over a real socket, with commands in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from meshca.clock import SystemClock
from meshca.config.admin import AdminConfig
from tests.fakes.admin_server import admin_server
from tests.fakes.root_commands import FakeRootCommands
from tests.rpc.root_calls import OWN


@pytest.fixture
def commands() -> FakeRootCommands:
    """One root."""
    return FakeRootCommands(SystemClock())


@pytest.fixture
def config() -> AdminConfig:
    """This user may do everything."""
    return AdminConfig(uids=(OWN,))


@pytest.fixture
async def stub(commands: FakeRootCommands, config: AdminConfig) -> AsyncIterator[Any]:
    """A client of the service."""
    serving = admin_server(roots=commands, config=config)
    async with serving as path, grpc.aio.insecure_channel(f"unix:{path}") as channel:
        yield RootsStub(channel)
