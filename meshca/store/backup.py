"""Copies of an SQLite store: made while servers write, looked through, and put back where none is.

A copy is one whole state: SQLite's own backup reads it in one step, within one transaction. Nothing is ever
written over: neither another copy, nor a store that is there. Private keys are not in the store, so not here.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshca import durable
from meshca.errors import ConfigError, InvariantBroken
from meshca.store.connection import Use, connect
from meshca.store.faults import advice
from meshca.store.lifecycle_rows import change_of, lifecycle_of
from meshca.store.location import FILE_MODE, sqlite_file
from meshca.store.migrate import HEAD, NO_TABLES, revision_of
from meshca.store.sql import CHANGES, LIFECYCLE

_COMPANIONS: Final = ("-wal", "-shm", "-journal")  # what belongs to a database file; never to another one
_EVERY: Final = -1  # a limit that is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in a copy that is whole.

    Attributes:
        schema: its revision; `meshca serve` brings an older one up to date.
        generation: of the roots' and intermediates' state; 0 before the first, and for a schema without any.
        issuances: how many there are in the ledger.
    """

    schema: str
    generation: int
    issuances: int


def backup(url: str, target: Path) -> Contents:
    """Copy a store into a new file of mode 0600, durable when this returns; servers may go on writing.

    Blocks for as long as it takes: some seconds for a million records.

    Args:
        url: of the store.
        target: a file that does not exist, in a folder that does.

    Raises:
        ConfigError: the target exists or cannot be written, or the store cannot be read or is damaged; then
            there is no target.
    """
    return _copy(sqlite_file(url), target)


def verify(copy: Path) -> Contents:
    """What is in a copy, after looking through all of it.

    What is checked: SQLite's own structures and indexes; that the schema is one of ours and not newer; that the
    lifecycle and every change of it read strictly. What is not: that a record says what was once written.

    Raises:
        ConfigError: it cannot be used; says why and what to do.
    """
    return _contents(copy, str(copy))


def restore(copy: Path, url: str) -> Contents:
    """Put a copy where a store is looked for; the copy stays.

    What was recorded since it was made is lost: certificates of that time renew with a token, and roots stand
    where they stood. For an operator who has stopped every server and moved the old file and its companions away.

    Raises:
        ConfigError: the copy cannot be used, or there is a store, or something of one, already.
    """
    verify(copy)
    path = sqlite_file(url)
    for companion in (path, *(path.with_name(path.name + end) for end in _COMPANIONS)):
        if os.path.lexists(companion):
            problem = f"is there; stop every server, and move {path} and its companions (-wal, -shm) away"
            raise ConfigError(str(companion), [problem])
    durable.make_folder(path.parent)
    return _copy(copy, path)


def _contents(path: Path, source: str) -> Contents:
    with _explained(source), contextlib.closing(connect(path, Use.READ)) as connection:
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise ConfigError(source, ["is damaged; use another copy"])
        schema = revision_of(connection, source)
        if schema is None:
            raise ConfigError(source, [NO_TABLES])
        (issuances,) = connection.execute("SELECT count(*) FROM issuance_intent").fetchone()
        generation = _generation(connection, source) if schema == HEAD else 0
        return Contents(schema=schema, generation=generation, issuances=issuances)


def _generation(connection: sqlite3.Connection, source: str) -> int:
    """Which it is, once it and its history are read."""
    row = connection.execute(LIFECYCLE).fetchone()
    try:
        for change in connection.execute(CHANGES, (_EVERY,)):
            change_of(change)
        return lifecycle_of(*row).generation if row else 0
    except InvariantBroken as error:
        raise ConfigError(source, [error.detail]) from None


def _copy(source: Path, target: Path) -> Contents:
    """Copy, and look through what came of it."""
    with contextlib.ExitStack() as stack:
        with _explained(str(source)):
            reading = stack.enter_context(contextlib.closing(connect(source, Use.READ)))
        stack.enter_context(_new_file(target))
        with _explained(f"{source} to {target}"), contextlib.closing(connect(target, Use.COPY)) as writing:
            reading.backup(writing)  # in one step: in several, every commit of a server would begin it anew
            writing.execute("PRAGMA journal_mode=DELETE")  # one file alone, also on a disk that only reads
        contents = _contents(target, str(source))
        durable.sync_folder(target.parent)
        return contents


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[None]:
    """An empty private file; gone again when what is done with it fails.

    Raises:
        ConfigError: it exists already, or cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        raise ConfigError(str(path), ["exists already, and is left as it is; name a new file"]) from None
    except OSError as error:
        problem = durable.unusable("made", error, "make its folder first")
        raise ConfigError(str(path), [problem]) from None
    try:
        yield
    except BaseException:  # whatever it is: half a copy must not be taken for one
        for file in (path, *(path.with_name(path.name + end) for end in _COMPANIONS)):
            file.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(source, [advice(error)]) from None
