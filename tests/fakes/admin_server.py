"""The administrator's services on Unix sockets, with short paths and a server that is well."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

from meshca.app.admin_server import Administration, admin_serving, door_serving
from meshca.clock import SystemClock
from meshca.config.admin import AdminConfig
from meshca.ledger.port import LedgerStore
from meshca.rpc.status_report import StatusReport
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.reports import report
from tests.fakes.root_commands import FakeRootCommands

OWN_UID = os.geteuid()


async def well() -> StatusReport:
    """A server that is well."""
    return report()


def administration(
    *,
    config: AdminConfig | None = None,
    status: Callable[[], Awaitable[StatusReport]] = well,
    ledger: LedgerStore | None = None,
    roots: FakeRootCommands | None = None,
) -> Administration:
    """What administrators are served with: by default an empty ledger and one root."""
    return Administration(
        config=config or AdminConfig(),
        status=status,
        ledger=ledger or FakeLedger(FakeClock()),
        roots=roots or FakeRootCommands(SystemClock()),
        clock=SystemClock(),
    )


@contextlib.asynccontextmanager
async def admin_server(
    ledger: LedgerStore | None = None,
    *,
    status: Callable[[], Awaitable[StatusReport]] = well,
    uids: Collection[int] = (OWN_UID,),
    roots: FakeRootCommands | None = None,
    config: AdminConfig | None = None,
) -> AsyncIterator[Path]:
    """Serve inside the block; gives the socket's path, which is short enough for a socket."""
    config = config or AdminConfig(uids=tuple(uids))
    served = administration(config=config, status=status, ledger=ledger, roots=roots)
    with tempfile.TemporaryDirectory(prefix="admin-") as folder:
        path = Path(folder) / "admin.sock"
        async with admin_serving(path, served):
            yield path


@contextlib.asynccontextmanager
async def workers_socket(
    served: Administration, workers: Callable[[], Collection[int]] = lambda: [os.getpid()]
) -> AsyncIterator[Path]:
    """Serve what workers pass on inside the block; this process is the one worker."""
    with tempfile.TemporaryDirectory(prefix="admin-") as folder:
        path = Path(folder) / "workers.sock"
        async with door_serving(path, served, workers):
            yield path
