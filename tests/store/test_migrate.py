"""The schema of a file is ours, or the file is refused."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from meshca.errors import ConfigError
from meshca.store import migrate as subject
from meshca.store.connection import connect
from meshca.store.location import prepare
from meshca.store.migrate import HEAD, check_schema, migrate
from meshca.store.rows import intent_row, issuance_of
from meshca.store.schema import metadata
from meshca.store.sql import _INTENT_COLUMNS, FIND, PUT_LIFECYCLE
from tests.store.filling import ONE, at, filled
from tests.store.opening import migrated


def check(path: Path) -> None:
    """What a worker does."""
    with contextlib.closing(connect(path)) as connection:
        check_schema(connection, "the file")


def refusal(path: Path, *, by_worker: bool = False) -> str:
    """Why a file is refused."""
    with pytest.raises(ConfigError) as caught:
        check(path) if by_worker else migrate(path, "the file")
    assert caught.value.source == "the file"
    return caught.value.problems[0]


def execute(path: Path, *statements: str) -> None:
    """Change a file behind our back."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_migrations_build_the_schema(tmp_path: Path) -> None:
    """Step by step, the same tables, columns and indexes that the code uses."""
    engine = create_engine(f"sqlite:///{migrated(tmp_path)}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_code_knows_the_newest_migration() -> None:
    """And all before it, without reading their files."""
    scripts = ScriptDirectory(str(subject._MIGRATIONS))
    assert scripts.get_current_head() == HEAD
    assert tuple(step.revision for step in scripts.walk_revisions())[::-1] == subject._KNOWN


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    """Every start of the server does."""
    path = migrated(tmp_path)
    execute(path, "INSERT INTO probe VALUES ('x', 1, 1)")
    migrate(path, "the file")
    check(path)
    with contextlib.closing(connect(path)) as connection:
        assert connection.execute("SELECT * FROM probe").fetchall() == [("x", 1, 1)]


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """All steps are one transaction."""
    path = tmp_path / "meshca.db"
    prepare(path)
    with contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(sqlite3.OperationalError) as caught:
            subject._upgrade(connection)
        assert caught.value.sqlite_errorname == "SQLITE_FULL"
    with contextlib.closing(connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_records_of_the_first_schema_can_be_read(tmp_path: Path) -> None:
    """Nobody is said to have asked for their certificates but the workloads themselves."""
    path = at(tmp_path, "0001")
    columns = ", ".join(_INTENT_COLUMNS[:-1])
    with contextlib.closing(connect(path)) as connection:
        statement = f"INSERT INTO issuance_intent ({columns}) VALUES ({', '.join('?' * 23)})"  # noqa: S608 - ours
        connection.execute(statement, intent_row(ONE)[:-1])
    migrate(path, "the file")
    with contextlib.closing(connect(path)) as connection:
        assert issuance_of(connection.execute(FIND, (ONE.serial,)).fetchone()).intent == ONE


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """By the parent and by workers; it is not touched."""
    path = migrated(tmp_path)
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    assert "has schema 9999, this version knows up to" in refusal(path)
    assert "run the newer meshca" in refusal(path, by_worker=True)


def test_an_older_file_is_refused_by_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the parent migrates."""
    path = migrated(tmp_path)
    monkeypatch.setattr(subject, "HEAD", "9999")
    assert "this version needs 9999" in refusal(path, by_worker=True)


def test_an_empty_file_is_refused_by_workers(tmp_path: Path) -> None:
    """Only the parent makes tables."""
    path = tmp_path / "meshca.db"
    prepare(path)
    assert "has no tables yet" in refusal(path, by_worker=True)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """It must not get our tables."""
    path = tmp_path / "meshca.db"
    execute(path, "CREATE TABLE songs (title)")
    assert "is a database of something else" in refusal(path)


@pytest.mark.parametrize(
    "versions", [[], ["INSERT INTO alembic_version VALUES ('0001'), ('0002')"]], ids=["none", "two"]
)
def test_a_file_without_one_version_is_refused(tmp_path: Path, versions: list[str]) -> None:
    """Somebody has meddled with it."""
    path = migrated(tmp_path)
    execute(path, "DELETE FROM alembic_version", *versions)
    assert "has schema" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE issuance_intent SET serial = 'x'",
        "UPDATE issuance_outcome SET result = 'issued'",
        "UPDATE lifecycle_change SET asked_by = 'x'",
        "DELETE FROM lifecycle_change",
    ],
)
def test_records_cannot_be_changed(tmp_path: Path, change: str) -> None:
    """Not even by hand, unless the trigger is removed first."""
    filled_one = contextlib.closing(connect(filled(tmp_path)))
    with filled_one as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(change)


def test_there_is_one_lifecycle(tmp_path: Path) -> None:
    """The table refuses a second row."""
    filled_one = contextlib.closing(connect(filled(tmp_path)))
    with filled_one as connection, pytest.raises(sqlite3.IntegrityError, match="lifecycle_is_one_row"):
        connection.execute(PUT_LIFECYCLE, (2, 2, "{}"))
