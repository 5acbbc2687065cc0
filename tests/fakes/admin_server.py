"""The administrator's service on a Unix socket, behind the gate that checks peers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import cast

import grpc

from meshca._proto.meshca.v1.admin_pb2_grpc import add_AdminServicer_to_server
from meshca.clock import SystemClock
from meshca.ledger.port import LedgerStore
from meshca.rpc.admin import Admin
from meshca.rpc.status_report import StatusReport
from meshca.wire.interceptors import Guarded
from meshca.wire.peercred import open_gate
from tests.fakes.reports import report


async def well() -> StatusReport:
    """A server that is well."""
    return report()


@contextlib.asynccontextmanager
async def admin_server(
    ledger: LedgerStore,
    *,
    status: Callable[[], Awaitable[StatusReport]] = well,
    uids: Collection[int] = (os.geteuid(),),
) -> AsyncIterator[Path]:
    """Serve inside the block; gives the socket's path, which is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="admin-") as folder:
        path = Path(folder) / "admin.sock"
        async with open_gate(path, allowed_uids=uids, clock=SystemClock()) as gate:
            server = grpc.aio.server()
            registry = cast("grpc.aio.Server", Guarded(server))  # what generated code calls of a server, it has
            add_AdminServicer_to_server(Admin(status, ledger), registry)
            server.add_insecure_port(gate.inner_address)
            await server.start()
            accepting = asyncio.create_task(gate.run())
            try:
                yield path
            finally:
                accepting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await accepting
                await server.stop(0)
