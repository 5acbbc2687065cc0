"""The administrator's service on a Unix socket, with a short path and a server that is well."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

from meshca.app.admin_server import admin_serving
from meshca.clock import SystemClock
from meshca.ledger.port import LedgerStore
from meshca.rpc.status_report import StatusReport
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
        async with admin_serving(path, uids=uids, status=status, ledger=ledger, clock=SystemClock()):
            yield path
