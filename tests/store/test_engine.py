"""Opening: a store that works, or words on why not and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.errors import ConfigError, Unavailable
from meshca.ledger.record import Issuance
from meshca.store import connection as connecting
from meshca.store.connection import Use, begin, connect
from meshca.store.engine import Store, open_store
from tests.fakes.clock import FakeClock
from tests.fakes.records import NOW, intent, issued
from tests.store.opening import migrated, opened, url_of


async def refusal(path: Path, *, migrate: bool = True) -> str:
    """Why a file cannot be opened."""
    with pytest.raises(ConfigError) as caught:
        async with open_store(url_of(path), SystemClock(), migrate=migrate):
            pass
    assert caught.value.source == str(path)
    return caught.value.problems[0]


async def test_the_parent_makes_what_is_missing(tmp_path: Path) -> None:
    """Folder, file and tables; workers then open the same file."""
    url = url_of(tmp_path / "data" / "meshca.db")
    async with open_store(url, SystemClock(), migrate=True), open_store(url, SystemClock()) as worker:
        await worker.ledger.intend(intent())


async def test_records_survive_a_restart(tmp_path: Path) -> None:
    """Intents and outcomes."""
    one = intent()
    async with opened(tmp_path, FakeClock(NOW)) as store:
        await store.ledger.intend(one)
        store.ledger.finish(issued(one))
    async with opened(tmp_path, FakeClock(NOW)) as store:
        assert await store.ledger.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_the_lineage_reads_the_ledger(tmp_path: Path) -> None:
    """What one process recorded, another inherits from."""
    one = intent()
    async with opened(tmp_path, FakeClock(NOW)) as store, opened(tmp_path, FakeClock(NOW)) as other:
        await store.ledger.intend(one)
        assert (await other.lineage.of(one.serial)).token_id == one.token_id


async def test_nothing_waits_in_an_idle_store(tmp_path: Path) -> None:
    """The probe at opening was one commit."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        assert (store.waiting, store.commits) == (0, 1)


async def test_workers_do_not_make_the_file(tmp_path: Path) -> None:
    """They would hide that the parent uses another."""
    path = tmp_path / "meshca.db"
    assert "does not exist yet" in await refusal(path, migrate=False)
    assert not path.exists()


async def test_workers_do_not_make_tables(tmp_path: Path) -> None:
    """Only one process migrates."""
    path = tmp_path / "meshca.db"
    path.touch()
    assert "has no tables yet" in await refusal(path, migrate=False)


@pytest.mark.parametrize("migrate", [True, False], ids=["parent", "worker"])
async def test_garbage_is_refused(tmp_path: Path, migrate: bool) -> None:  # noqa: FBT001 - a row
    """And left as it is."""
    path = tmp_path / "meshca.db"
    path.write_bytes(b"garbage " * 1024)
    assert "the file is no SQLite database; restore a copy" in await refusal(path, migrate=migrate)
    assert path.read_bytes() == b"garbage " * 1024


@pytest.mark.parametrize("migrate", [True, False], ids=["parent", "worker"])
async def test_a_damaged_file_is_refused(tmp_path: Path, migrate: bool) -> None:  # noqa: FBT001 - a row
    """Its header alone does not make it good."""
    path = migrated(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert "the file is damaged; restore a copy" in await refusal(path, migrate=migrate)


@pytest.mark.parametrize("migrate", [True, False], ids=["parent", "worker"])
async def test_a_locked_file_is_refused(
    tmp_path: Path,
    migrate: bool,  # noqa: FBT001 - a row
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After waiting for a while."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    path = migrated(tmp_path)
    with contextlib.closing(connect(path)) as other:
        begin(other)
        assert "another process has held the write lock" in await refusal(path, migrate=migrate)


async def test_a_file_that_only_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried with a write before anything depends on it."""
    settings = {**connecting._SETTINGS, Use.WRITE: ("query_only=ON",)}
    monkeypatch.setattr(connecting, "_SETTINGS", settings)
    assert "the file or its folder is read-only" in await refusal(migrated(tmp_path))


async def test_a_probe_writes_and_reads(tmp_path: Path) -> None:
    """A commit each."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        await store.probe()
        await store.probe()
        assert store.commits == 3


async def test_a_probe_sees_what_the_writer_meets(tmp_path: Path) -> None:
    """Readiness must not say yes while issuance is refused."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        await store._writer.run(lambda connection: connection.execute("PRAGMA query_only = ON").fetchone())
        with pytest.raises(Unavailable):
            await store.probe()
        await store.probe()


async def test_a_probe_notices_a_lost_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that forgets."""
    async with opened(tmp_path, FakeClock(NOW)) as store:

        async def run(_: object) -> None:
            """Pretend."""

        monkeypatch.setattr(store._writer, "run", run)
        with pytest.raises(Unavailable) as caught:
            await store.probe()
        assert "what was read is not what was written" in caught.value.detail


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed"])
async def test_a_probe_notices_that_the_file_is_gone(tmp_path: Path, replaced: bool) -> None:  # noqa: FBT001 - a row
    """SQLite itself would go on writing into nowhere."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        path = tmp_path / "meshca.db"
        path.rename(tmp_path / "away.db")
        if replaced:
            migrated(tmp_path)
        with pytest.raises(Unavailable) as caught:
            await store.probe()
        assert "restart" in caught.value.detail


async def test_probe_rows_of_the_past_are_forgotten(tmp_path: Path) -> None:
    """Processes come and go."""
    clock = FakeClock(NOW)
    path = migrated(tmp_path)
    url = url_of(path)
    async with open_store(url, clock, instance="old"):
        pass
    clock.move(2 * 86400)
    async with open_store(url, clock, migrate=True, instance="new"):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT instance FROM probe").fetchall() == [("new",)]


async def test_processes_share_the_file(tmp_path: Path) -> None:
    """Nobody loses a record to another."""
    made = [[intent() for _ in range(50)] for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        stores: list[Store] = [await stack.enter_async_context(opened(tmp_path, FakeClock(NOW))) for _ in made]
        await asyncio.gather(
            *(store.ledger.intend(one) for store, mine in zip(stores, made, strict=True) for one in mine)
        )
        found = [await stores[0].ledger.find(one.serial) for mine in made for one in mine]
    assert found == [Issuance(intent=one) for mine in made for one in mine]
