"""A CA for experiments: a server with a token issuer of its own, all in one folder. Never for production.

The folder gets `meshca.yaml` (the configuration, which the environment may override as usual), the issuer's
key and key set, the data directory, and, while the server serves, the files that tell scripts where it is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from meshca import durable
from meshca.app.data_dir import alone_in
from meshca.app.dev_issuer import DevIssuer
from meshca.clock import SystemClock
from meshca.wire.unix_socket import MAX_PATH

if TYPE_CHECKING:
    from meshca.app.server import Started

CONFIG: Final = "meshca.yaml"
READY: Final = "ready"
ENDPOINTS: Final = ("endpoint", "endpoint-mtls", "endpoint-http", "endpoint-admin")
_ROOT: Final = "root.pem"
_SPARE: Final = 40  # bytes that the administrator's gate adds below the socket's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class DevFolder:
    """The folder of one CA for experiments.

    Attributes:
        path: the folder, absolute.
        admin_socket: of its administrator; outside the folder when that has a name too long for a socket.
    """

    path: Path
    admin_socket: Path

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, path: Path, ports: Mapping[str, int]) -> Iterator[DevFolder]:
        """Make the folder, its issuer and its configuration; inside the block a server may serve from it.

        Args:
            path: existing or not.
            ports: of `token`, `mtls` and `http`; 0 for any free one.

        Raises:
            ConfigError: the folder cannot be used.
        """
        path = path.absolute()
        durable.make_folder(path)
        with alone_in(path, "choose another folder"), _admin_socket(path) as admin_socket:
            folder = cls(path=path, admin_socket=admin_socket)
            folder.forget()  # what a killed server left
            issuer = DevIssuer.create(path, SystemClock())
            durable.replace(path / CONFIG, yaml.safe_dump(folder.tree(issuer, ports), sort_keys=False).encode())
            try:
                yield folder
            finally:
                folder.forget()

    def tree(self, issuer: DevIssuer, ports: Mapping[str, int]) -> dict[str, object]:
        """The configuration, as its file says it."""
        return {
            "data_dir": str(self.path / "data"),
            "listen": {
                **{name: f"127.0.0.1:{port}" for name, port in ports.items()},
                "admin": str(self.admin_socket),
            },
            "authn": {"issuers": [issuer.config().model_dump(mode="json", exclude_none=True)]},
        }

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.path / CONFIG

    def announce(self, started: Started) -> None:
        """Write where the server is, and last of all that it is ready."""
        addresses = (started.token, started.mtls, started.http, self.admin_socket)
        for name, address in zip(ENDPOINTS, addresses, strict=True):
            durable.replace(self.path / name, f"{address}\n".encode())
        durable.replace(self.path / _ROOT, started.roots.encode())
        durable.replace(self.path / READY, b"")

    def forget(self) -> None:
        """Say that nothing serves here."""
        for name in (READY, *ENDPOINTS):
            (self.path / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _admin_socket(path: Path) -> Iterator[Path]:
    """In the folder, or in a short temporary one when the folder's name is too long for a socket's address."""
    if len(os.fsencode(path)) + _SPARE < MAX_PATH:
        yield path / "admin.sock"
        return
    with tempfile.TemporaryDirectory(prefix="meshca-dev-") as short:
        yield Path(short) / "admin.sock"
