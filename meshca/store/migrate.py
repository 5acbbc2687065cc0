"""Brings the schema of a file to the one that this version knows, in one transaction, or refuses the file.

Only the server's parent migrates; workers check. A newer schema is never touched, and nothing ever goes back to
an older one by itself: that is an operator's act, and loses what the older one has no place for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshca.errors import ConfigError
from meshca.store.connection import connect

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_KNOWN: Final = ("0001", "0002", "0003", "0004", "0005")  # every revision, oldest first; a test compares
HEAD: Final = _KNOWN[-1]
VERSION_TABLE: Final = "alembic_version"
NO_TABLES: Final = "has no tables yet; they are made by `meshca serve`, start that first"


def check_schema(connection: sqlite3.Connection, source: str) -> None:
    """Refuse a file with another schema than ours.

    Args:
        connection: to the file.
        source: how to call it in the error.

    Raises:
        ConfigError: it is empty, older, newer, or not ours.
        sqlite3.Error: it cannot be read.
    """
    check_current(revision_of(connection, source), source)


def migrate(path: Path, source: str) -> None:
    """Bring the schema up to date.

    Raises:
        ConfigError: the file is newer than this version, or not ours.
        sqlite3.Error: it cannot be read or written; then nothing has changed.
    """
    connection = connect(path)
    try:
        if revision_of(connection, source) != HEAD:
            _upgrade(connection)
    finally:
        connection.close()


def downgrade(path: Path, revision: str, source: str) -> None:
    """Take the schema back to an older one, for an older version of meshca.

    For an operator who has stopped every server that uses the file, and has a copy of it. What the older schema
    has no place for is lost: each migration's `downgrade` says what.

    Raises:
        ConfigError: the file is empty, newer than this version or not ours, or that schema is none of its past.
        sqlite3.Error: it cannot be read or written; then nothing has changed.
    """
    connection = connect(path)
    try:
        found = revision_of(connection, source)
        check_way_back(found, revision, source)
        if revision != found:
            _downgrade(connection, revision)
    finally:
        connection.close()


def revision_of(connection: sqlite3.Connection, source: str) -> str | None:
    """The schema of a file, which this version knows; None of an empty one.

    Raises:
        ConfigError: it is newer than this version, or not ours.
        sqlite3.Error: it cannot be read.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found = connection.execute("SELECT version_num FROM alembic_version") if VERSION_TABLE in tables else ()
    return recognised(tables, [str(revision) for (revision,) in found], source)


def recognised(tables: Collection[str], found: Sequence[str], source: str) -> str | None:
    """The one schema that a database says it has, which this version knows; None of an empty one.

    Args:
        tables: that are there.
        found: what its table of versions says.
        source: how to call it in the error.

    Raises:
        ConfigError: it is newer than this version, or not ours.
    """
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        raise ConfigError(source, ["is a database of something else; name another one in ledger.url"])
    if len(found) != 1 or found[0] not in _KNOWN:
        shown = ", ".join(found) or "(none)"
        problem = f"has schema {shown}, this version knows up to {HEAD}; run the newer meshca that wrote it again"
        raise ConfigError(source, [problem])
    return found[0]


def check_current(revision: str | None, source: str) -> None:
    """Refuse another schema than ours.

    Raises:
        ConfigError: there is none yet, or it is older.
    """
    if revision is None:
        raise ConfigError(source, [NO_TABLES])
    if revision != HEAD:
        problem = f"has schema {revision}, this version needs {HEAD}; `meshca serve` brings it up to date at start"
        raise ConfigError(source, [problem])


def check_way_back(found: str | None, revision: str, source: str) -> None:
    """Refuse to go back to what a schema never was.

    Raises:
        ConfigError: there is no schema yet, or the other one is none of its past.
    """
    if found is None:
        raise ConfigError(source, [NO_TABLES])
    if revision not in (past := _KNOWN[: _KNOWN.index(found) + 1]):
        problem = f"has schema {found}, which cannot go back to {revision}; name one of {', '.join(past)}"
        raise ConfigError(source, [problem])


def _upgrade(connection: sqlite3.Connection, revision: str = HEAD) -> None:
    from alembic import command

    _run(connection, lambda config: command.upgrade(config, revision))


def _downgrade(connection: sqlite3.Connection, revision: str) -> None:
    from alembic import command

    _run(connection, lambda config: command.downgrade(config, revision))


def _run(connection: sqlite3.Connection, move: Callable[[Config], None]) -> None:
    # Imported here: workers and the command line do without Alembic.
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(begun: Any) -> None:  # noqa: ANN401 - SQLAlchemy's Connection, imported late
        begun.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as transaction:
            move(steps(transaction))
    except DBAPIError as error:
        raise error.orig if isinstance(error.orig, sqlite3.Error) else error from None


def steps(transaction: object) -> Config:
    """What Alembic is told: where the steps are, and in which of SQLAlchemy's transactions to take them."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = transaction
    return config
