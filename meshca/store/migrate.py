"""Brings the schema of a file to the one that this version knows, in one transaction, or refuses the file.

Only the server's parent migrates; workers check. A newer schema is never touched.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

from meshca.errors import ConfigError
from meshca.store.connection import connect

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_KNOWN: Final = ("0001", "0002")  # every revision, oldest first; a test compares
HEAD: Final = _KNOWN[-1]


def check_schema(connection: sqlite3.Connection, source: str) -> None:
    """Refuse a file with another schema than ours.

    Args:
        connection: to the file.
        source: how to call it in the error.

    Raises:
        ConfigError: it is empty, older, newer, or not ours.
        sqlite3.Error: it cannot be read.
    """
    revision = _revision(connection, source)
    if revision is None:
        raise ConfigError(source, ["has no tables yet; they are made by `meshca serve`, start that first"])
    if revision != HEAD:
        problem = f"has schema {revision}, this version needs {HEAD}; `meshca serve` brings it up to date at start"
        raise ConfigError(source, [problem])


def migrate(path: Path, source: str) -> None:
    """Bring the schema up to date.

    Raises:
        ConfigError: the file is newer than this version, or not ours.
        sqlite3.Error: it cannot be read or written; then nothing has changed.
    """
    connection = connect(path)
    try:
        if _revision(connection, source) != HEAD:
            _upgrade(connection)
    finally:
        connection.close()


def _revision(connection: sqlite3.Connection, source: str) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise ConfigError(source, ["is a database of something else; name another file in ledger.url"])
    found = [str(revision) for (revision,) in connection.execute("SELECT version_num FROM alembic_version")]
    if len(found) != 1 or found[0] not in _KNOWN:
        shown = ", ".join(found) or "(none)"
        problem = f"has schema {shown}, this version knows up to {HEAD}; run the newer meshca that wrote it again"
        raise ConfigError(source, [problem])
    return found[0]


def _upgrade(connection: sqlite3.Connection) -> None:
    # Imported here: workers and the command line do without Alembic.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(begun: Any) -> None:  # noqa: ANN401 - SQLAlchemy's Connection, imported late
        begun.exec_driver_sql("BEGIN IMMEDIATE")

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as transaction:
            config.attributes["connection"] = transaction
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise error.orig if isinstance(error.orig, sqlite3.Error) else error from None
