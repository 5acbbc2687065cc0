"""What a fault of the database means for a person, and what to do about it.

SQLite's own text stays out: the words are ours, by its documented result codes (sqlite.org/rescode.html).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from meshca.errors import Unavailable

_BUSY: Final = "another process has held the write lock for {seconds} s; end its transaction (a backup? a shell?)"
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: "the disk is full; make room, writing goes on by itself",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; make both writable for this user",
    sqlite3.SQLITE_PERM: "this user may not use the file; give it to this user",
    sqlite3.SQLITE_AUTH: "this user may not use the file; give it to this user",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; the folder must exist and be writable for this user",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; check it, its quota and the file size limit",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a copy, or move it and its -wal away and restart",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; restore a copy, or move it away and restart",
    sqlite3.SQLITE_NOMEM: "there is no memory left for the database",
    sqlite3.SQLITE_ERROR: "the tables are not those of this version; was the file replaced? restart the server",
}
BUSY_SECONDS: Final = 5  # how long to wait for another process's write lock
_PRIMARY: Final = 0xFF  # an extended result code carries the primary one in its lowest byte
_REOPEN: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_ERROR,
    }
)


def advice(error: sqlite3.Error) -> str:
    """What is wrong and what to do, in our words."""
    code = _code(error)
    words = _ADVICE.get(code & _PRIMARY, "the database failed in an unexpected way")
    return f"{words.format(seconds=BUSY_SECONDS)} ({_name(error)})"


def unavailable(error: sqlite3.Error) -> Unavailable:
    """The fault as the error that the store's users know."""
    return Unavailable("store", advice(error))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process holds a lock, its recovery of the log after a crash included."""
    return _code(error) & _PRIMARY == sqlite3.SQLITE_BUSY


def needs_reopening(error: sqlite3.Error) -> bool:
    """Whether a connection that failed so may go on failing when the cause is gone."""
    return _code(error) & _PRIMARY in _REOPEN


def _code(error: sqlite3.Error) -> int:
    # Errors of Python's own checks (a closed connection) carry no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code


def _name(error: sqlite3.Error) -> str:
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    return name
