"""A copy of a shared store by PostgreSQL's own programs is the whole store, as docs/operations/store.md says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from meshca.store.postgres.address import parse
from meshca.store.postgres.migrate import check_schema
from tests.fakes.clock import FakeClock
from tests.fakes.generations import changes_of, generation
from tests.fakes.records import NOW, intent, issued
from tests.real.postgresql import Cluster, find_postgresql
from tests.store.postgres.opening import fresh_database, opened_shared

pytestmark = pytest.mark.real("postgresql")


def run(program: str, *arguments: str) -> None:
    """One of PostgreSQL's programs."""
    folder = find_postgresql()
    assert folder is not None
    subprocess.run([str(folder / program), *arguments], check=True, capture_output=True)


async def test_a_copy_taken_under_load_is_restored(postgresql: Cluster, tmp_path: Path) -> None:
    """Records, history and the triggers that protect both; a server starts on it."""
    made = [intent() for _ in range(20)]
    copy = tmp_path / "meshca.dump"
    with fresh_database(postgresql) as database:
        async with opened_shared(postgresql.url(database), FakeClock(NOW)) as store:
            for one in made:
                await store.ledger.intend(one)
                store.ledger.finish(issued(one))
            await store.lifecycle.commit(generation(1), changes_of(1))
            run("pg_dump", "--format=custom", f"--file={copy}", f"--dbname={postgresql.url(database)}")
            await store.ledger.intend(intent())
    other = postgresql.create()
    url = postgresql.url(other)
    run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", str(copy))
    check_schema(parse(url))
    async with opened_shared(url, FakeClock(NOW)) as store:
        assert await store.lifecycle.load() == generation(1)
        found = [await store.ledger.find(one.serial) for one in made]
    assert [one.intent for one in found if one] == made
    with pytest.raises(psycopg.IntegrityError, match="append-only"):
        postgresql.execute("UPDATE issuance_intent SET serial = 'x'", database=other)
    postgresql.drop(other)
