"""Where the database is: reads its URL, makes its folder and file so that nobody else can read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from meshca.errors import ConfigError

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077


def sqlite_file(url: str) -> Path:
    """The file that a database URL names.

    Raises:
        ConfigError: it is no URL, names another database than SQLite, or names no file. The URL itself is never
            repeated: it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("ledger.url", ["expected sqlite:////absolute/path.db"]) from None
    kind = parsed.get_backend_name()
    if kind.startswith("postgres"):
        problem = "PostgreSQL is not supported yet; use sqlite:////absolute/path.db or leave it out"
        raise ConfigError("ledger.url", [problem])
    if parsed.drivername != "sqlite":
        raise ConfigError(
            "ledger.url", [f"{kind} is not supported; use sqlite:////absolute/path.db or leave it out"]
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        problem = "expected a file that several processes share, without options: sqlite:////absolute/path.db"
        raise ConfigError("ledger.url", [problem])
    return Path(parsed.database).absolute()


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
