"""Brings the schema of a shared database to the one that this version knows, or refuses the database.

Replicas that start together take turns, by a lock that the server drops with the connection. All steps are one
transaction. A newer schema is never touched: replicas of an older version that still run go on with theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import psycopg

from meshca.errors import ConfigError
from meshca.store.migrate import (
    HEAD,
    VERSION_TABLE,
    check_current,
    check_way_back,
    recognised,
    steps,
)
from meshca.store.postgres.address import Address
from meshca.store.postgres.faults import advice

if TYPE_CHECKING:
    from alembic.config import Config
    from psycopg.rows import TupleRow

LOCK: Final = 0x6D65736863610001  # of PostgreSQL's advisory locks: "meshca", 1
LOCK_SECONDS: Final = 60  # for another replica's migration
_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
_VERSIONS: Final = "SELECT version_num FROM alembic_version"
_NO_SCHEMA: Final = "has no schema to make tables in; make this role the owner of the database"
_ENCODING: Final = (
    "has the encoding {found}, expected UTF8; make another: createdb --encoding UTF8 --template template0"
)


def check_schema(address: Address) -> None:
    """Refuse a database with another schema than ours.

    Raises:
        ConfigError: it is empty, older, newer, not ours, or cannot be read.
    """
    with _connection(address) as connection:
        check_current(_revision(connection, address), address.where)


def migrate(address: Address) -> None:
    """Bring the schema up to date.

    Raises:
        ConfigError: the database is newer than this version, not ours, or cannot be used; nothing has changed.
    """
    from alembic import command

    with _connection(address) as connection:
        if _revision(connection, address) != HEAD:
            _locked(connection)
            if _revision(connection, address) != HEAD:  # another replica may have been first
                _take(connection, lambda config: command.upgrade(config, HEAD))


def downgrade(address: Address, revision: str) -> None:
    """Take the schema back to an older one, for an older version of meshca.

    For an operator who has stopped every replica, and has a copy of the database. What the older schema has no
    place for is lost: each migration's `downgrade` says what.

    Raises:
        ConfigError: there is no schema yet, that one is none of its past, or the database cannot be used.
    """
    from alembic import command

    with _connection(address) as connection:
        _locked(connection)
        found = _revision(connection, address)
        check_way_back(found, revision, address.where)
        if revision != found:
            _take(connection, lambda config: command.downgrade(config, revision))


class _connection:  # noqa: N801 - used as a function
    """A connection whose faults are the operator's to mend; what was done by it is kept only at a good end."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: psycopg.Connection[TupleRow] | None = None

    def __enter__(self) -> psycopg.Connection[TupleRow]:
        try:
            self._connection = psycopg.connect(**self._address.parameters())  # type: ignore[arg-type] # libpq's options are text
        except psycopg.Error as error:
            raise ConfigError(self._address.where, [advice(error)]) from None
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._connection is not None  # noqa: S101 - entered
        try:
            if error is None:
                self._connection.commit()
        except psycopg.Error as late:
            error = late
        finally:
            self._connection.close()
        if isinstance(error, psycopg.Error):
            raise ConfigError(self._address.where, [advice(error)]) from None


def _locked(connection: psycopg.Connection[TupleRow]) -> None:
    # For the session: SQLAlchemy begins with a rollback of its own.
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_SECONDS}s",))
    connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    connection.commit()


def _revision(connection: psycopg.Connection[TupleRow], address: Address) -> str | None:
    if (found := connection.info.parameter_status("server_encoding")) != "UTF8":
        raise ConfigError(address.where, [_ENCODING.format(found=found)])
    if connection.execute("SELECT current_schema()").fetchone() == (None,):
        raise ConfigError(address.where, [_NO_SCHEMA])
    tables = {str(name) for (name,) in connection.execute(_TABLES)}
    versions = connection.execute(_VERSIONS).fetchall() if VERSION_TABLE in tables else []
    return recognised(tables, [str(version) for (version,) in versions], address.where)


def _take(connection: psycopg.Connection[TupleRow], move: Callable[[Config], None]) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    def ours() -> Any:  # noqa: ANN401 - SQLAlchemy's DBAPI connection
        return connection

    engine = create_engine("postgresql+psycopg://", creator=ours, poolclass=StaticPool)
    try:
        with engine.connect() as steps_taken, steps_taken.begin():
            move(steps(steps_taken))
    except DBAPIError as error:
        raise error.orig if isinstance(error.orig, psycopg.Error) else error from None
