"""A real OpenBao for tests: one for a run, a mount and a role each; or one of its own for a test that breaks it.

mount = await new_mount(openbao)
config = vault_config(openbao, mount, folder)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from meshca.app import openbao_mount, openbao_process
from meshca.app.openbao_mount import Mount, add_root, enable_approle, make_default
from meshca.app.openbao_process import OpenBao, find_openbao, free_pair
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig

__all__ = [
    "Mount",
    "OpenBao",
    "add_root",
    "find_openbao",
    "free_pair",
    "make_default",
    "new_mount",
    "own_openbao",
    "running_openbao",
    "vault_config",
]
_numbers = itertools.count()


@contextlib.contextmanager
def running_openbao() -> Iterator[OpenBao]:
    """A server of this run, HTTP on loopback; its `call` works in any event loop."""
    binary = find_openbao()
    assert binary is not None, 'mark the test with @pytest.mark.real("openbao")'
    with tempfile.TemporaryDirectory(prefix="meshca-bao-") as folder, asyncio.Runner() as runner:
        server = OpenBao(binary=binary, folder=Path(folder), port=free_pair(), clock=SystemClock())
        try:
            runner.run(server.begin())
            runner.run(enable_approle(server))
            yield server
        finally:
            runner.run(server.stop())


@contextlib.asynccontextmanager
async def own_openbao(
    folder: Path, *, tls: tuple[Path, Path] | None = None, roots: Path | None = None
) -> AsyncIterator[OpenBao]:
    """A server for one test, which may seal, kill or starve it."""
    binary = find_openbao()
    assert binary is not None, 'mark the test with @pytest.mark.real("openbao")'
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - once, before the test
    running = openbao_process.running(binary, folder, free_pair(), clock=SystemClock(), tls=tls, roots=roots)
    async with running as server:
        await enable_approle(server)
        yield server


async def new_mount(server: OpenBao, *, root_ttl: str = "87600h", token: dict[str, object] | None = None) -> Mount:
    """As `openbao_mount.new_mount`, under a name that nobody has."""
    name = f"pki-{os.getpid()}-{next(_numbers)}"
    return await openbao_mount.new_mount(server, name, root_ttl=root_ttl, token=token)


def vault_config(server: OpenBao, mount: Mount, folder: Path, **changes: Any) -> VaultConfig:
    """The upstream over a mount, by its AppRole, with its first root pinned by a file in the folder."""
    secret_id, roots = folder / "secret-id", folder / "roots.pem"
    secret_id.write_text(mount.secret_id.reveal())
    roots.write_text(mount.root)
    return VaultConfig.model_validate(
        {
            "kind": "vault",
            "address": server.address,
            "allow_http": server.tls is None,
            "ca_file": str(server.roots) if server.roots else None,
            "mount": mount.path,
            "login": {"approle": {"role_id": mount.role_id, "secret_id_file": str(secret_id)}},
            "roots": {"file": str(roots)},
            "poll": "250ms",
        }
        | changes
    )
