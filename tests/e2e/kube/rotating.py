"""What an administrator asks of a running server's roots, over its own socket."""

from __future__ import annotations

from pathlib import Path

from meshca.app.admin_client import connect
from meshca.authority.history import Record
from meshca.rotation.report import RootReport


def socket_of(folder: Path) -> Path:
    """The administrator's socket of a server in a folder."""
    return Path((folder / "endpoint-admin").read_text().strip())


async def rotate(folder: Path) -> Record:
    """Begin a planned rotation; the new root."""
    async with connect(socket_of(folder)) as client:
        root = (await client.roots.rotate(compromised=False, window=None, reason="a test")).root
    assert root is not None
    return root


async def report(folder: Path) -> RootReport:
    """How the roots stand."""
    async with connect(socket_of(folder)) as client:
        return await client.roots.report()
