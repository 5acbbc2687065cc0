"""A real OpenBao for tests: one for a run, a mount and a role each; or one of its own for a test that breaks it.

mount = await new_mount(openbao)
config = vault_config(openbao, mount, folder)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshca.app import openbao_process
from meshca.app.openbao_process import OpenBao, find_openbao
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig

__all__ = ["OpenBao", "find_openbao", "new_mount", "own_openbao", "running_openbao", "vault_config"]
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Mount:
    """A PKI engine with one root, and an AppRole that may have intermediates signed by its default issuer.

    Attributes:
        path: of the engine.
        root: PEM of the first root; its issuer is called `one`.
        role_id: of the AppRole.
        secret_id: of the AppRole, for any number of logins.
    """

    path: str
    root: str
    role_id: str
    secret_id: str


@contextlib.contextmanager
def running_openbao() -> Iterator[OpenBao]:
    """A server of this run, HTTP on loopback; its `call` works in any event loop."""
    binary = find_openbao()
    assert binary is not None, 'mark the test with @pytest.mark.real("openbao")'
    with tempfile.TemporaryDirectory(prefix="meshca-bao-") as folder, asyncio.Runner() as runner:
        server = OpenBao(binary=binary, folder=Path(folder), port=free_pair(), clock=SystemClock())
        try:
            runner.run(server.begin())
            runner.run(server.call("POST", "sys/auth/approle", {"type": "approle"}))
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
        await server.call("POST", "sys/auth/approle", {"type": "approle"})
        yield server


async def new_mount(server: OpenBao, *, root_ttl: str = "87600h", token: dict[str, object] | None = None) -> Mount:
    """A PKI engine with a root, and a role with the least policy.

    Args:
        server: where.
        root_ttl: how long the root lasts.
        token: what the role's tokens are like, such as `{"token_ttl": "3s"}`.
    """
    name = f"pki-{os.getpid()}-{next(_numbers)}"
    await server.call("POST", f"sys/mounts/{name}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    made = await add_root(server, name, issuer="one", ttl=root_ttl)
    policy = f'path "{name}/issuer/default/sign-intermediate" {{ capabilities = ["update"] }}\n'
    await server.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    await server.call("POST", f"auth/approle/role/{name}", {"token_policies": [name], **(token or {})})
    role_id = (await server.call("GET", f"auth/approle/role/{name}/role-id"))["data"]["role_id"]
    secret_id = (await server.call("POST", f"auth/approle/role/{name}/secret-id", {}))["data"]["secret_id"]
    return Mount(path=name, root=made, role_id=role_id, secret_id=secret_id)


async def add_root(server: OpenBao, mount: str, *, issuer: str, ttl: str = "87600h") -> str:
    """PEM of a further root, which is not the default unless it is the first."""
    body = {
        "common_name": f"{mount} {issuer}",
        "ttl": ttl,
        "key_type": "ec",
        "key_bits": 256,
        "issuer_name": issuer,
    }
    made = await server.call("POST", f"{mount}/issuers/generate/root/internal", body)
    return str(made["data"]["certificate"])


async def make_default(server: OpenBao, mount: str, issuer: str) -> None:
    """Let another issuer sign from now on."""
    await server.call("POST", f"{mount}/config/issuers", {"default": issuer})


def vault_config(server: OpenBao, mount: Mount, folder: Path, **changes: Any) -> VaultConfig:
    """The upstream over a mount, by its AppRole, with its first root pinned by a file in the folder."""
    secret_id, roots = folder / "secret-id", folder / "roots.pem"
    secret_id.write_text(mount.secret_id)
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


def free_pair() -> int:
    """A free port whose successor is free too: the server takes both."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port + 1))
                return port
