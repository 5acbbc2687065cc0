"""Where the database is: reads its URL, makes its folder and file so that nobody else can read them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from meshca import durable
from meshca.errors import ConfigError, Unavailable

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+]{0,40}")
_EXAMPLE: Final = "sqlite:////absolute/path.db"
_SHARED_EXAMPLE: Final = "postgresql://user@host/database"
_SHARED: Final = frozenset({"postgresql", "postgres"})
FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077


def is_shared(url: str) -> bool:
    """Whether a database URL names a PostgreSQL, which several replicas can share."""
    return url.partition("://")[0] in _SHARED


def check_location(url: str) -> None:
    """Refuse a URL that cannot be opened, as far as that can be told without opening or making anything.

    Raises:
        ConfigError: as `sqlite_file` and `check_file`, or `postgres.address.parse`.
    """
    if is_shared(url):
        from meshca.store.postgres.address import parse

        parse(url)
    else:
        check_file(sqlite_file(url))


def sqlite_file(url: str) -> Path:
    """The file that a database URL names, as SQLAlchemy writes it: three slashes before a relative path.

    Raises:
        ConfigError: it is no URL, names another database than SQLite, or names no file. The URL itself is never
            repeated: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ConfigError("ledger.url", [f"expected {_EXAMPLE}"])
    if scheme in _SHARED:
        raise ConfigError("ledger.url", ["is a PostgreSQL, which is no file; it is copied with pg_dump"])
    if scheme != "sqlite":
        problem = f"{kind} is not supported; use {_EXAMPLE}, {_SHARED_EXAMPLE} or leave it out"
        raise ConfigError("ledger.url", [problem])
    host, slash, file = rest.partition("/")
    if host or not slash or file in {"", ":memory:"} or "?" in file or "\0" in file:
        problem = f"expected a file that several processes share, without options: {_EXAMPLE}"
        raise ConfigError("ledger.url", [problem])
    return Path(file).absolute()


class Place:
    """Notices that an open file is no longer the one at its path.

    SQLite goes on writing to a file that was moved or deleted; those records would be lost
    (sqlite.org/howtocorrupt.html section 4.3).

    Args:
        path: of a file that exists.

    Raises:
        OSError: it does not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino

    def check(self) -> None:
        """Look again; a file that was moved away and came back is the same.

        Raises:
            Unavailable: reason `store`.
        """
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            problem = f"{self._path} cannot be found any more ({error.strerror}); bring it back, or restart"
            raise Unavailable("store", problem) from None
        if inode != self._inode:
            problem = f"{self._path} was replaced by another file while the server runs; restart the server"
            raise Unavailable("store", problem)


def check_file(path: Path) -> None:
    """Refuse what `prepare`, or opening the database after it, would fail at; nothing is made or changed.

    Raises:
        ConfigError: its folder cannot be written, or the file is not ours to read, write and keep private.
    """
    durable.check_folder(path.parent)
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(str(path), [durable.unusable("used", error)]) from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(str(path), ["is no regular file"])
    us = os.geteuid()
    closed = not found.st_mode & _OTHERS or us in {found.st_uid, 0}
    if not closed or not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        problem = (
            f"must be a file that this user (uid {us}) may read, write and keep private; run: chown {us} {path}"
        )
        raise ConfigError(str(path), [problem])


def prepare(path: Path) -> None:
    """Make the folder (0700) and an empty file (0600) where missing; close an existing file to others.

    An existing file is never opened here: closing it again would drop the locks that SQLite may hold on it in
    this process (sqlite.org/howtocorrupt.html section 2.2).

    Raises:
        ConfigError: one of it cannot be done.
    """
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if not path.exists():
            # SQLite gives its -wal and -shm files the permissions of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        elif path.stat().st_mode & _OTHERS:
            path.chmod(FILE_MODE)
    except OSError as error:
        problem = f"cannot be made or kept private ({error.strerror}); give {path.parent} to this user"
        raise ConfigError(str(path), [problem]) from None
