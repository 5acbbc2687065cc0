"""Back to an older schema: only ever because an operator said so, and nothing is lost that it can hold."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from meshca.authority.adoption import Kind
from meshca.errors import ConfigError
from meshca.store import migrate as subject
from meshca.store.connection import connect
from meshca.store.location import prepare
from meshca.store.migrate import HEAD, check_schema, downgrade, migrate
from meshca.store.rows import Row, adoption_row
from meshca.store.schema import metadata
from meshca.store.sql import ADOPT
from tests.contract.test_adoption_store import adoption
from tests.fakes.records import NOW
from tests.store.filling import BROUGHT, at, filled, known_to
from tests.store.opening import migrated

EARLIER = subject._KNOWN[:-1]


def shape(path: Path) -> dict[str, object]:
    """What tables, columns, indexes and triggers a file has."""
    with contextlib.closing(connect(path)) as connection:
        found = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY 1, 2").fetchall()
        tables = [name for kind, name, _ in found if kind == "table"]
        columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in tables}
        return {"all": found, **columns}


def rows(path: Path, table: str) -> list[Row]:
    """What a table holds."""
    with contextlib.closing(connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - ours


def test_every_table_has_a_row_here() -> None:
    """None is forgotten when a schema brings one."""
    assert {table for table, _ in known_to(HEAD)} == set(metadata.tables)
    assert tuple(BROUGHT) == subject._KNOWN


@pytest.mark.parametrize("revision", EARLIER)
def test_a_schema_goes_back_to_what_it_was(tmp_path: Path, revision: str) -> None:
    """The same tables, columns, indexes and triggers as a file that never went further."""
    path = filled(tmp_path)
    downgrade(path, revision, "the file")
    assert shape(path) == shape(at(tmp_path, revision))


@pytest.mark.parametrize("revision", EARLIER)
def test_going_back_keeps_what_the_older_schema_can_hold(tmp_path: Path, revision: str) -> None:
    """Every row, but for columns that it never had; and it is there again after going up."""
    path = filled(tmp_path)
    before = {table: [row[:wide] for row in rows(path, table)] for table, wide in known_to(revision)}
    downgrade(path, revision, "the file")
    assert {table: [row[:wide] for row in rows(path, table)] for table, wide in known_to(revision)} == before
    migrate(path, "the file")
    with contextlib.closing(connect(path)) as connection:
        check_schema(connection, "the file")
    assert {table: [row[:wide] for row in rows(path, table)] for table, wide in known_to(revision)} == before


@pytest.mark.parametrize("revision", EARLIER)
def test_a_schema_that_went_back_and_forth_is_the_newest(tmp_path: Path, revision: str) -> None:
    """Nothing of the way remains."""
    path = filled(tmp_path)
    downgrade(path, revision, "the file")
    migrate(path, "the file")
    assert shape(path) == shape(migrated(tmp_path))


def test_the_first_schema_can_be_taken_away(tmp_path: Path) -> None:
    """Only the table of versions stays, and names none."""
    path = filled(tmp_path)
    with contextlib.closing(connect(path)) as connection:
        subject._downgrade(connection, "base")
    assert [name for _, name, _ in cast("list[Row]", shape(path)["all"])][-1:] == ["alembic_version"]
    assert rows(path, "alembic_version") == []


def test_going_back_to_where_it_is_changes_nothing(tmp_path: Path) -> None:
    """An operator may ask twice."""
    path = filled(tmp_path)
    downgrade(path, HEAD, "the file")
    assert rows(path, "lifecycle") == [(1, 1, "{}")]


def test_going_back_that_fails_changes_nothing(tmp_path: Path) -> None:
    """All steps are one transaction: the newest tables are still there, although their step was done."""
    path = filled(tmp_path)
    with contextlib.closing(connect(path)) as connection:
        connection.execute("CREATE VIEW proxies AS SELECT requested_by FROM issuance_intent")
    before = shape(path)
    with pytest.raises(sqlite3.OperationalError):
        downgrade(path, "0001", "the file")
    assert shape(path) == before
    assert rows(path, "lifecycle") == [(1, 1, "{}")]


def test_of_streams_of_one_name_an_older_schema_keeps_one(tmp_path: Path) -> None:
    """One that is open, and of several the one heard last; other names and kinds keep theirs."""
    path = filled(tmp_path)
    every = [
        adoption(stream="2", seen_at=NOW + timedelta(seconds=1)),
        adoption(stream="3", seen_at=NOW + timedelta(seconds=2), connected=False),
        adoption(stream="2", kind=Kind.POLICIES),
        adoption(stream="2", node_id="web-2"),
    ]
    with contextlib.closing(connect(path)) as connection:
        connection.executemany(ADOPT, map(adoption_row, every))
    downgrade(path, "0004", "the file")
    kept = [(row[1], row[2], row[12]) for row in rows(path, "adoption")]
    assert sorted(kept) == [("web-1", "policies", "2"), ("web-1", "roots", "2"), ("web-2", "roots", "2")]


def unable(path: Path, revision: str) -> str:
    """Why a file cannot go back."""
    with pytest.raises(ConfigError) as caught:
        downgrade(path, revision, "the file")
    return caught.value.problems[0]


@pytest.mark.parametrize("revision", ["0000", "base", "head", "-1", ""])
def test_an_unknown_schema_is_refused(tmp_path: Path, revision: str) -> None:
    """Alembic's other spellings included: one of them would take everything away."""
    said = unable(migrated(tmp_path), revision)
    assert (
        said == f"has schema {HEAD}, which cannot go back to {revision}; name one of {', '.join(subject._KNOWN)}"
    )


def test_going_back_does_not_go_forward(tmp_path: Path) -> None:
    """To a schema that the file has not come to yet."""
    assert "has schema 0001, which cannot go back to 0002; name one of 0001" in unable(
        at(tmp_path, "0001"), "0002"
    )


def test_an_empty_file_does_not_go_back(tmp_path: Path) -> None:
    """It gets no tables either."""
    path = tmp_path / "meshca.db"
    prepare(path)
    assert "has no tables yet" in unable(path, "0001")


def test_a_newer_file_does_not_go_back(tmp_path: Path) -> None:
    """Only the version that made its tables knows how."""
    path = migrated(tmp_path)
    with contextlib.closing(connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "run the newer meshca" in unable(path, "0001")
