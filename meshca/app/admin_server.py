"""Serves the local administrator on a Unix socket, behind the gate that checks who connects.

Only the parent has one. Nothing else is ever served here, and this service nowhere else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Final, cast

import grpc

from meshca._proto.meshca.v1.admin_pb2_grpc import add_AdminServicer_to_server
from meshca.background import running
from meshca.clock import Clock
from meshca.ledger.port import LedgerStore
from meshca.rpc.admin import Admin
from meshca.rpc.status_report import StatusReport
from meshca.wire.interceptors import Guarded
from meshca.wire.peercred import open_gate

GRACE_SECONDS: Final = 1.0  # for calls under way at the end
_PRIVATE: Final = 0o600
_SHARED: Final = 0o660  # other users must be in the socket's group, besides being listed
_ROOT: Final = 0  # may open any file


@contextlib.asynccontextmanager
async def admin_serving(
    path: Path,
    *,
    uids: Collection[int],
    status: Callable[[], Awaitable[StatusReport]],
    ledger: LedgerStore,
    clock: Clock,
) -> AsyncIterator[None]:
    """Serve inside the block.

    Args:
        path: of the socket; its folder exists.
        uids: user ids that may connect.
        status: tells how the server is now.
        ledger: the record of every signature.
        clock: for the gate's pauses.

    Raises:
        ConfigError: the path is in use, too long, or cannot be bound.
    """
    mode = _PRIVATE if set(uids) <= {os.geteuid(), _ROOT} else _SHARED
    async with open_gate(path, allowed_uids=uids, clock=clock, mode=mode, quiet=True) as gate:
        server = grpc.aio.server()
        registry = cast(
            "grpc.aio.Server", Guarded(server, private=True)
        )  # what generated code calls of a server, it has
        add_AdminServicer_to_server(Admin(status, ledger), registry)
        server.add_insecure_port(gate.inner_address)
        await server.start()
        try:
            async with running("admin", gate.run, clock):
                yield
        finally:
            await server.stop(GRACE_SECONDS)
