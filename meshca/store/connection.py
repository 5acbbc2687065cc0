"""Opens SQLite connections, all with the same settings.

A thread has its own connection and opens it again after faults that a connection does not survive.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
import time
from pathlib import Path
from typing import Final

from meshca.store.faults import BUSY_SECONDS, is_busy

_BUSY_PAUSE: Final = 0.0007  # seconds; a commit takes about as long


class Use(enum.Enum):
    """What a connection is for."""

    ALONE = enum.auto()
    """Opening and migrating."""
    WRITE = enum.auto()
    """The writer's thread; transactions start with `begin`."""
    READ = enum.auto()
    """Reads only."""
    COPY = enum.auto()
    """What a copy is written to; nobody else knows the file yet."""


# WAL: readers and the writer do not wait for each other. FULL: every commit is synced, else a power cut could
# take acknowledged commits back (sqlite.org/pragma.html#pragma_synchronous). 64 MiB: a log that grew under a
# long read is cut back. 8 MB of cache: with a million records the slowest commits take 17 instead of 27 ms.
_SETTINGS: Final = {
    Use.ALONE: ("journal_mode=WAL", "synchronous=FULL"),
    Use.WRITE: (
        "journal_mode=WAL",
        "synchronous=FULL",
        "journal_size_limit=67108864",
        "busy_timeout=0",
        "cache_size=-8000",
    ),
    Use.READ: ("query_only=ON",),
    Use.COPY: ("synchronous=FULL",),
}


def connect(path: Path, use: Use = Use.ALONE) -> sqlite3.Connection:
    """A connection that commits each statement by itself unless told `BEGIN`.

    The file must exist: a file that somebody moved away must not come back empty.

    Args:
        path: of the database file.
        use: what for.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # closed by another thread than the one that used it
    )
    try:
        for setting in _SETTINGS[use]:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, waiting for other processes' transactions.

    SQLite's own way of waiting sleeps up to 100 ms between two tries, which two busy workers feel: their slowest
    commits took 130 ms that way and 10 to 30 ms this way.

    Raises:
        sqlite3.Error: it cannot; SQLITE_BUSY after BUSY_SECONDS.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > give_up:
                raise
            time.sleep(_BUSY_PAUSE)
        else:
            return


class Reopening:
    """The connection of one thread; opened when first asked for."""

    def __init__(self, path: Path, use: Use) -> None:
        self._path = path
        self._use = use
        self._connection: sqlite3.Connection | None = None

    def get(self) -> sqlite3.Connection:
        """The open connection.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        if self._connection is None:
            self._connection = connect(self._path, self._use)
        return self._connection

    def rollback(self) -> None:
        """End a transaction that failed."""
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close it; the next `get` opens a new one."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
