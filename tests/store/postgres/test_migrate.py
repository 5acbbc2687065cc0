"""The schema of a shared database is ours, or the database is refused; replicas take turns."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from meshca.errors import ConfigError
from meshca.store import migrate as steps
from meshca.store.migrate import HEAD
from meshca.store.postgres import migrate as subject
from meshca.store.postgres.address import Address, parse
from meshca.store.postgres.migrate import LOCK, check_schema, downgrade, migrate
from meshca.store.schema import metadata
from tests.contract.test_adoption_store import adoption
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW, intent, issued
from tests.real.postgresql import OWNER, Cluster
from tests.store.postgres.opening import fresh_database, opened_shared

pytestmark = pytest.mark.real("postgresql")
REPLICAS = 3


@pytest.fixture
def empty(postgresql: Cluster) -> Iterator[str]:
    """A database without tables."""
    name = postgresql.create()
    yield name
    postgresql.drop(name)


@pytest.fixture
def full(postgresql: Cluster) -> Iterator[str]:
    """A database with all tables."""
    with fresh_database(postgresql) as name:
        yield name


@pytest.fixture
def there(postgresql: Cluster, full: str) -> Address:
    """Its address."""
    return parse(postgresql.url(full))


def refusal(address: Address, *, by_worker: bool = False) -> str:
    """Why a database is refused."""
    with pytest.raises(ConfigError) as caught:
        check_schema(address) if by_worker else migrate(address)
    assert caught.value.source == address.where
    return caught.value.problems[0]


def test_migrations_build_the_schema(postgresql: Cluster, full: str) -> None:
    """The same tables, columns and indexes as in SQLite."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(postgresql.url(full)))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


REPLICA = """
import sys
from meshca.store.postgres.address import parse
from meshca.store.postgres.migrate import check_schema, migrate

sys.stdin.readline()
migrate(parse(sys.argv[1]))
check_schema(parse(sys.argv[1]))
"""


def test_replicas_that_start_together_take_turns(postgresql: Cluster, empty: str) -> None:
    """One makes the tables, the others find them."""
    command = [sys.executable, "-c", REPLICA, postgresql.url(empty)]
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE)) for _ in range(REPLICAS)]
        for replica in replicas:
            assert replica.stdin is not None
            replica.stdin.write(b"go\n")
            replica.stdin.flush()
        assert [replica.wait() for replica in replicas] == [0] * REPLICAS


def test_a_migration_waits_for_the_lock(postgresql: Cluster, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for ever."""
    monkeypatch.setattr(subject, "LOCK_SECONDS", 0.1)
    address = parse(postgresql.url(empty))
    with psycopg.connect(postgresql.url(empty)) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        assert "did not answer in time" in refusal(address)
    migrate(address)


def test_a_migration_that_fails_leaves_nothing(postgresql: Cluster, empty: str) -> None:
    """All steps are one transaction."""
    postgresql.execute("CREATE TYPE lifecycle AS ENUM ()", database=empty)  # in the way of the last step's table
    address = parse(postgresql.url(empty))
    assert "(SQLSTATE 42710)" in refusal(address)
    assert "has no tables yet" in refusal(address, by_worker=True)


def test_migrating_again_changes_nothing(there: Address) -> None:
    """Every start of a replica does."""
    migrate(there)
    check_schema(there)


async def test_down_and_up_again(postgresql: Cluster, full: str, there: Address) -> None:
    """Step by step; records stay as long as there is a table for them."""
    one = intent()
    async with opened_shared(postgresql.url(full), FakeClock(NOW)) as store:
        await store.ledger.intend(one)
        store.ledger.finish(issued(one))
        for stream in "12":
            store.adoption.record(adoption(stream=stream))
    for revision in ("0004", "0002", "0001"):
        await asyncio.to_thread(downgrade, there, revision)
        assert f"has schema {revision}, this version needs {HEAD}" in refusal(there, by_worker=True)
    await asyncio.to_thread(migrate, there)
    async with opened_shared(postgresql.url(full), FakeClock(NOW)) as store:
        found = await store.ledger.find(one.serial)
        adopted = await store.adoption.list()
    assert found is not None
    assert found.intent == one
    assert [row.stream for row in adopted] == ["2"]


def test_everything_can_be_taken_away(postgresql: Cluster, full: str, there: Address) -> None:
    """By the steps themselves, so that none leaves anything behind; only a test may ask for it."""
    with psycopg.connect(postgresql.url(full)) as connection:
        from alembic import command

        subject._take(connection, lambda config: command.downgrade(config, "base"))
        left = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        functions = connection.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'meshca%'").fetchall()
    assert (left, functions) == ([("alembic_version",)], [])


def test_there_is_no_way_back_to_what_never_was(postgresql: Cluster, empty: str, there: Address) -> None:
    """Neither from an empty database nor to another name."""
    with pytest.raises(ConfigError, match="cannot go back to base"):
        downgrade(there, "base")
    with pytest.raises(ConfigError, match="has no tables yet"):
        downgrade(parse(postgresql.url(empty)), "0001")
    downgrade(there, HEAD)
    check_schema(there)


@pytest.mark.parametrize("table", ["issuance_intent", "issuance_outcome", "lifecycle_change"])
@pytest.mark.parametrize("deed", ["UPDATE {} SET {}", "TRUNCATE {}"])
def test_records_cannot_be_changed(postgresql: Cluster, full: str, table: str, deed: str) -> None:
    """Not even by hand, unless the trigger is removed first."""
    column = "forced = 0" if table == "lifecycle_change" else "serial = 'x'"
    with pytest.raises(psycopg.IntegrityError, match=f"{table} is append-only"):
        postgresql.execute(deed.format(table, column), database=full)


def test_the_history_cannot_be_removed(postgresql: Cluster, full: str) -> None:
    """It is kept for ever."""
    with pytest.raises(psycopg.IntegrityError, match="lifecycle_change is append-only"):
        postgresql.execute("DELETE FROM lifecycle_change", database=full)


def test_a_newer_database_is_refused(postgresql: Cluster, full: str, there: Address) -> None:
    """By the parent and by workers; it is not touched."""
    postgresql.execute("UPDATE alembic_version SET version_num = '9999'", database=full)
    assert "has schema 9999, this version knows up to" in refusal(there)
    assert "run the newer meshca" in refusal(there, by_worker=True)


def test_an_older_database_is_refused_by_workers(there: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the parent migrates."""
    monkeypatch.setattr(steps, "HEAD", "0099")
    assert "this version needs 0099" in refusal(there, by_worker=True)


def test_an_empty_database_is_refused_by_workers(postgresql: Cluster, empty: str) -> None:
    """Only the parent makes tables."""
    assert "has no tables yet" in refusal(parse(postgresql.url(empty)), by_worker=True)


def test_a_database_of_something_else_is_refused(postgresql: Cluster, empty: str) -> None:
    """It must not get our tables."""
    postgresql.execute("CREATE TABLE songs (title text)", database=empty)
    assert "is a database of something else" in refusal(parse(postgresql.url(empty)))


def test_another_encoding_is_refused(postgresql: Cluster) -> None:
    """Names may hold any character."""
    postgresql.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        assert "has the encoding LATIN1, expected UTF8" in refusal(parse(postgresql.url("latin")))
    finally:
        postgresql.drop("latin")


def test_a_role_that_may_not_make_tables_is_refused(postgresql: Cluster, empty: str) -> None:
    """With what to do; also when it has no schema at all."""
    postgresql.execute(f"ALTER DATABASE {empty} OWNER TO postgres")
    address = parse(postgresql.url(empty))
    assert "make it the owner of the database" in refusal(address)
    postgresql.execute(f"REVOKE ALL ON SCHEMA public FROM public, {OWNER}", database=empty)
    assert "has no schema to make tables in" in refusal(address)


def test_a_server_that_cannot_be_reached_is_said(postgresql: Cluster) -> None:
    """As everywhere."""
    assert "createdb --owner" in refusal(parse(postgresql.url("nonesuch")))


def test_a_connection_that_is_lost_halfway_is_said(
    postgresql: Cluster, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the commit; then nothing has changed."""
    address = parse(postgresql.url(empty))

    def end(connection: psycopg.Connection[tuple[object, ...]], _: object) -> None:
        postgresql.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")

    monkeypatch.setattr(subject, "_take", end)
    assert "the connection was lost" in (words := refusal(address)) or "57P01" in words
