"""Every connection has the settings that durability rests on."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from meshca.store import connection as subject
from meshca.store.connection import Reopening, Use, begin, connect
from tests.store.opening import migrated


def setting(connection: sqlite3.Connection, name: str) -> object:
    """The value of a pragma."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_every_commit_of_the_writer_is_synced(tmp_path: Path) -> None:
    """Write-ahead log, synchronous FULL (2)."""
    with contextlib.closing(connect(migrated(tmp_path), Use.WRITE)) as connection:
        assert (setting(connection, "journal_mode"), setting(connection, "synchronous")) == ("wal", 2)


def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    """SQLite itself refuses."""
    with contextlib.closing(connect(migrated(tmp_path), Use.READ)) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("DELETE FROM probe")
        assert caught.value.sqlite_errorname == "SQLITE_READONLY"


def test_a_file_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """It would come back empty."""
    with pytest.raises(sqlite3.OperationalError) as caught:
        connect(tmp_path / "none.db")
    assert caught.value.sqlite_errorname == "SQLITE_CANTOPEN"
    assert not (tmp_path / "none.db").exists()


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    """It goes through a URI."""
    folder = tmp_path / "a%20b?mode=ro#c d"
    folder.mkdir()
    with contextlib.closing(connect(migrated(folder), Use.WRITE)) as connection:
        connection.execute("DELETE FROM probe")


def test_side_files_are_private(tmp_path: Path) -> None:
    """The log holds records too."""
    with contextlib.closing(connect(migrated(tmp_path), Use.WRITE)) as connection:
        connection.execute("DELETE FROM probe")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["meshca.db", "meshca.db-wal", "meshca.db-shm"], 0o600)


def test_a_file_that_is_no_database_is_not_left_open(tmp_path: Path) -> None:
    """The fault is raised, the descriptor closed (warnings are errors here)."""
    path = tmp_path / "meshca.db"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connect(path, Use.WRITE)
    assert caught.value.sqlite_errorname == "SQLITE_NOTADB"


def test_beginning_waits_for_another_writer(tmp_path: Path) -> None:
    """As long as it takes, within the limit."""
    path = migrated(tmp_path)
    with (
        contextlib.closing(connect(path, Use.WRITE)) as other,
        contextlib.closing(connect(path, Use.WRITE)) as ours,
    ):
        begin(other)
        waiter = threading.Thread(target=begin, args=(ours,))
        waiter.start()
        other.execute("COMMIT")
        waiter.join()
        assert ours.in_transaction


def test_beginning_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer may hold the lock for ever."""
    monkeypatch.setattr(subject, "BUSY_SECONDS", 0)
    path = migrated(tmp_path)
    with (
        contextlib.closing(connect(path, Use.WRITE)) as other,
        contextlib.closing(connect(path, Use.WRITE)) as ours,
    ):
        begin(other)
        with pytest.raises(sqlite3.OperationalError) as caught:
            begin(ours)
        assert caught.value.sqlite_errorname == "SQLITE_BUSY"


def test_beginning_does_not_wait_for_other_faults(tmp_path: Path) -> None:
    """They do not pass."""
    with contextlib.closing(connect(migrated(tmp_path), Use.WRITE)) as connection:
        begin(connection)
        with pytest.raises(sqlite3.OperationalError) as caught:
            begin(connection)
        assert caught.value.sqlite_errorname == "SQLITE_ERROR"


def test_a_closed_connection_is_opened_again(tmp_path: Path) -> None:
    """When it is next asked for."""
    reopening = Reopening(migrated(tmp_path), Use.WRITE)
    first = reopening.get()
    assert reopening.get() is first
    reopening.close()
    reopening.close()
    assert reopening.get() is not first
    reopening.close()


def test_a_rollback_leaves_nothing(tmp_path: Path) -> None:
    """And is harmless without a transaction or a connection."""
    reopening = Reopening(migrated(tmp_path), Use.WRITE)
    reopening.rollback()
    begin(reopening.get())
    reopening.get().execute("INSERT INTO probe VALUES ('x', 1, 1)")
    reopening.rollback()
    reopening.rollback()
    assert reopening.get().execute("SELECT count(*) FROM probe").fetchone() == (0,)
    reopening.close()
