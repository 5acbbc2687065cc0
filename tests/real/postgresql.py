"""A private PostgreSQL for tests: one cluster for a run of tests, made when first asked for, a database each.

Nothing of a PostgreSQL that the machine may run is used or changed. The server refuses to run as root, so then
it runs as another user. It does not sync to disk: it never outlives the tests, and when they are killed the next
run ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

PREFIX = "meshca-pg-"
OWNED = "owned"  # a file of a cluster's folder; locked for as long as the process that made it lives
PLACES = "/usr/lib/postgresql"  # of Debian: one folder for each version
USERS = ("postgres", "nobody")
OWNER = "meshca"
PASSWORD = "correct horse"
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
SETTINGS = {
    "fsync": "off",
    "listen_addresses": "'127.0.0.1'",
    "lc_messages": "'C'",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "max_prepared_transactions": "4",
}
_numbers = itertools.count()


@functools.cache
def find_postgresql() -> Path | None:
    """The folder of the newest server's programs; None when there is none, or nobody to run it as."""
    found = sorted(Path(PLACES).glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    usable = [path for path in found if (path / "initdb").exists() and (path / "pg_ctl").exists()]
    return usable[0] if usable and _runner() is not None else None


def _runner() -> Mapping[str, Any] | None:
    """How to run a program as somebody who is not root; None when nobody can be found."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return None


@dataclass(slots=True, eq=False)
class Cluster:
    """A server with data of its own.

    Attributes:
        folder: of data and socket.
        port: on 127.0.0.1, and in the socket's name.
    """

    folder: Path
    port: int
    _as: Mapping[str, Any] = field(default_factory=lambda: _runner() or {})

    def init(self) -> None:
        """Make the data, and the role that tests connect as."""
        if "user" in self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self._call(
            "initdb", "--pgdata", str(self.data), "--username", "postgres", "--encoding", "UTF8", "--no-sync"
        )
        (self.data / "pg_hba.conf").write_text(HBA)
        settings = SETTINGS | {"unix_socket_directories": f"'{self.folder}'", "port": str(self.port)}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def start(self) -> None:
        """Return once it answers."""
        log = ["--log", str(self.folder / "log")]
        self._call("pg_ctl", "start", "--wait", "--silent", "--pgdata", str(self.data), *log)

    def stop(self, mode: str = "fast") -> None:
        """Return once it has ended; connections are cut."""
        self._call("pg_ctl", "stop", "--wait", "--silent", "--mode", mode, "--pgdata", str(self.data))

    def runs(self) -> bool:
        """Whether its server does: the process that it has noted works in its data."""
        with contextlib.suppress(OSError, ValueError):  # no note, or no such process any more
            pid = int((self.data / "postmaster.pid").read_text().partition("\n")[0])
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == self.data.resolve()
        return False

    def show(self, certificate: bytes, key: bytes) -> None:
        """Speak TLS from now on, with this certificate."""
        for name, content in (("server.crt", certificate), ("server.key", key)):
            path = self.data / name
            path.write_bytes(content)
            path.chmod(0o600)
            if "user" in self._as:
                os.chown(path, self._as["user"], self._as["group"])
        self.execute("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What the last statement gives, each run for itself by a superuser."""
        where = {"host": str(self.folder), "port": self.port, "user": "postgres"}
        with psycopg.connect(dbname=database, autocommit=True, **where) as connection:  # type: ignore[arg-type]
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template1") -> str:
        """The name of a new database that the tests' role owns."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """How the tests' role reaches a database through the socket."""
        return f"postgresql://{OWNER}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, *, user: str = OWNER, port: int | None = None) -> str:
        """How it does with a password, which must come from elsewhere."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def _call(self, program: str, *arguments: str) -> None:
        folder = find_postgresql()
        assert folder is not None
        done = subprocess.run(
            [str(folder / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # the server would keep a pipe
            check=False,
            text=True,
            **self._as,
        )
        assert done.returncode == 0, f"{program}: {done.stderr or (self.folder / 'log').read_text()}"


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster that runs; removed at the end."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with _owned(folder):
            cluster = Cluster(folder, _free_port())
            cluster.init()
            cluster.start()
            try:
                cluster.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'")
                yield cluster
            finally:
                cluster.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """End and remove the clusters of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with (
            contextlib.suppress(
                FileNotFoundError, PermissionError, BlockingIOError
            ),  # no cluster of such a process
            (folder / OWNED).open() as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (cluster := Cluster(folder, 0)).runs():
                cluster.stop("immediate")
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Nobody sweeps the folder inside the block; the lock is there before its name is."""
    with (folder / "new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "new").rename(folder / OWNED)
        yield


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port
