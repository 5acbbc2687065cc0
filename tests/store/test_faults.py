"""Every fault of the database has words and an advice."""

from __future__ import annotations

import sqlite3

import pytest

from meshca.store.faults import advice, is_busy, needs_reopening, unavailable


def fault(code: int, name: str) -> sqlite3.OperationalError:
    """What SQLite raises, with text that must not get out."""
    error = sqlite3.OperationalError("text of the library")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (5, "SQLITE_BUSY", "held the write lock for 5 s"),
        (517, "SQLITE_BUSY_SNAPSHOT", "held the write lock for 5 s"),
        (6, "SQLITE_LOCKED", "held the write lock for 5 s"),
        (13, "SQLITE_FULL", "the disk is full; make room"),
        (8, "SQLITE_READONLY", "read-only; make both writable"),
        (1032, "SQLITE_READONLY_DBMOVED", "read-only; make both writable"),
        (3, "SQLITE_PERM", "give it to this user"),
        (23, "SQLITE_AUTH", "give it to this user"),
        (14, "SQLITE_CANTOPEN", "cannot be opened"),
        (10, "SQLITE_IOERR", "the disk failed to read or write"),
        (778, "SQLITE_IOERR_WRITE", "the disk failed to read or write"),
        (11, "SQLITE_CORRUPT", "the file is damaged; restore a copy"),
        (26, "SQLITE_NOTADB", "no SQLite database; restore a copy"),
        (7, "SQLITE_NOMEM", "no memory left"),
        (1, "SQLITE_ERROR", "not those of this version"),
        (20, "SQLITE_MISMATCH", "failed in an unexpected way"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("SQLITE") else "",
)
def test_a_fault_says_what_to_do(code: int, name: str, words: str) -> None:
    """In our own words, with SQLite's name of the fault."""
    said = advice(fault(code, name))
    assert words in said
    assert said.endswith(f"({name})")
    assert "library" not in said


def test_an_error_without_a_code_is_explained_too() -> None:
    """Python's own checks give none."""
    assert advice(sqlite3.ProgrammingError("closed")).endswith("(ProgrammingError)")


def test_users_of_the_store_see_unavailable() -> None:
    """One reason for all."""
    error = unavailable(fault(13, "SQLITE_FULL"))
    assert (error.reason, error.detail) == ("store", advice(fault(13, "SQLITE_FULL")))


@pytest.mark.parametrize(
    ("code", "expected"),
    [(5, False), (6, False), (13, False), (1, True), (8, True), (10, True), (778, True), (11, True), (14, True)],
)
def test_only_some_faults_outlive_their_cause_in_a_connection(code: int, expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """A lock and a full disk pass; other connections are made anew."""
    assert needs_reopening(fault(code, "X")) is expected


@pytest.mark.parametrize(("code", "expected"), [(5, True), (261, True), (6, False), (13, False)])
def test_every_kind_of_busy_is_worth_waiting(code: int, expected: bool) -> None:  # noqa: FBT001 - a row's answer
    """Such as another process that recovers the log of a crashed one (SQLITE_BUSY_RECOVERY, 261)."""
    assert is_busy(fault(code, "X")) is expected
