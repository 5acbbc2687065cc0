"""A real OpenBao for tests: one for a run, a mount and a role each; or one of its own for a test that breaks it.

The one for a run is in dev mode, which starts at once; those of a test's own keep what they know on disk, in raft.

mount = await new_mount(openbao)
config = vault_config(openbao, mount, folder)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.app import openbao_mount, openbao_process
from meshca.app.openbao_mount import Mount, add_root, enable_approle, make_default
from meshca.app.openbao_process import OpenBao, find_openbao, free_pair
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.secret import Secret
from tests.fakes.pki import DAY, SIGNS_DATA, Ca, make_ca

__all__ = [
    "Mount",
    "OpenBao",
    "add_root",
    "find_openbao",
    "free_pair",
    "in_namespace",
    "make_default",
    "new_mount",
    "own_openbao",
    "running_openbao",
    "tls_client",
    "tls_files",
    "vault_config",
]
_numbers = itertools.count()
_LEAF = x509.BasicConstraints(ca=False, path_length=None)


class DevOpenBao(OpenBao):
    """A server in dev mode: in memory, unsealed from the start."""

    async def begin(self) -> None:
        """As it says; nothing is to be initialised."""
        self.root_token = Secret(secrets.token_hex())
        await self.start()
        await self._until_active()

    def _arguments(self) -> tuple[str, ...]:
        token, where = (
            f"-dev-root-token-id={self.root_token.reveal()}",
            f"-dev-listen-address=127.0.0.1:{self.port}",
        )
        return "server", "-dev", "-dev-no-store-token", token, where


@dataclass(slots=True, kw_only=True, eq=False)
class Namespace(OpenBao):
    """A server, as the operator of one namespace of it sees it.

    Attributes:
        name: of the namespace.
    """

    name: str

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] | None = None
    ) -> dict[str, Any]:
        """Below it."""
        return await OpenBao.call(self, method, f"{self.name}/{path}", body, token=token)


async def in_namespace(server: OpenBao) -> Namespace:
    """A namespace that nobody has had, with the login by AppRole."""
    name = f"team-{os.getpid()}-{next(_numbers)}"
    await server.call("PUT", f"sys/namespaces/{name}", {})
    team = Namespace(
        name=name,
        binary=server.binary,
        folder=server.folder,
        port=server.port,
        clock=server.clock,
        tls=server.tls,
        roots=server.roots,
        root_token=server.root_token,
    )
    await enable_approle(team)
    return team


@contextlib.contextmanager
def running_openbao(*, tls: tuple[Path, Path] | None = None, roots: Path | None = None) -> Iterator[OpenBao]:
    """A server of this run on loopback, in dev mode unless it has TLS; its `call` works in any event loop."""
    binary = find_openbao()
    assert binary is not None, 'mark the test with @pytest.mark.real("openbao")'
    with tempfile.TemporaryDirectory(prefix="meshca-bao-") as folder, asyncio.Runner() as runner:
        place, clock = Path(folder), SystemClock()
        kind = OpenBao if tls else DevOpenBao
        server = kind(binary=binary, folder=place, port=free_pair(), clock=clock, tls=tls, roots=roots)
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
            "namespace": server.name if isinstance(server, Namespace) else None,
            "mount": mount.path,
            "login": {"approle": {"role_id": mount.role_id, "secret_id_file": str(secret_id)}},
            "roots": {"file": str(roots)},
            "poll": "250ms",
        }
        | changes
    )


def tls_files(folder: Path) -> tuple[tuple[Path, Path], Path]:
    """Certificate and key of a server on 127.0.0.1, and the file with their root."""
    now = datetime.now(UTC)
    root = make_ca("root of the server", begin=now - DAY, end=now + DAY)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = make_ca("server", root, begin=now - DAY, end=now + DAY, constraints=_LEAF, usage=None, extra=[address])
    (roots := folder / "server-roots.pem").write_text(root.pem)
    return _written(folder, "server", leaf), roots


@functools.cache
def _client(name: str) -> Ca:
    now = datetime.now(UTC)
    client = [ExtendedKeyUsageOID.CLIENT_AUTH]
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://machines.example/{name}")])
    return make_ca(
        name, begin=now - DAY, end=now + DAY, constraints=_LEAF, usage=SIGNS_DATA, purposes=client, extra=[uri]
    )


def tls_client(folder: Path, name: str) -> Ca:
    """A self-signed client certificate, the same for the same name, put into `client.crt` and `client.key`.

    Its URI is `spiffe://machines.example/NAME`.
    """
    _written(folder, "client", _client(name))
    return _client(name)


def _written(folder: Path, name: str, pair: Ca) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_text(pair.pem)
    key.write_text(pair.key_pem)
    return certificate, key
