"""Copies of a store: whole, private, and never over anything that is there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import stat
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.errors import ConfigError
from meshca.store import connection as connecting
from meshca.store.backup import Contents, backup, restore, verify
from meshca.store.connection import Use, begin, connect
from meshca.store.engine import Store, open_store
from meshca.store.migrate import HEAD, downgrade
from tests.contract.test_lifecycle_store import commit, everything
from tests.fakes.clock import FakeClock
from tests.fakes.generations import generation, newest_first
from tests.fakes.hurried_clock import HurriedClock
from tests.fakes.records import NOW, intent
from tests.store.filling import filled
from tests.store.opening import migrated, opened, url_of

COPIES = 10


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """A store with three records and two generations; nobody has it open."""
    async with opened(tmp_path, FakeClock(NOW)) as store:
        await commit(store.lifecycle, 1, 2)
        for _ in range(3):
            await store.ledger.intend(intent())
    return url_of(tmp_path / "meshca.db")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where no file is."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder / "copy.db"


def execute(path: Path, *statements: str) -> None:
    """Change a file behind our back."""
    with contextlib.closing(connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def unable(url: str, target: Path) -> tuple[str, str]:
    """What is at fault when no copy can be made, and why; nothing is left of it."""
    before = sorted(target.parent.iterdir()) if target.parent.is_dir() else []
    with pytest.raises(ConfigError) as caught:
        backup(url, target)
    assert (sorted(target.parent.iterdir()) if target.parent.is_dir() else []) == before
    return caught.value.source, caught.value.problems[0]


def test_a_copy_says_what_is_in_it(url: str, target: Path) -> None:
    """So that an operator sees that it is the right one."""
    assert backup(url, target) == Contents(schema=HEAD, generation=2, issuances=3)
    assert verify(target) == Contents(schema=HEAD, generation=2, issuances=3)


def test_a_copy_is_one_private_file(url: str, target: Path) -> None:
    """Whatever the mask of the process; nothing beside it is needed or left."""
    mask = os.umask(0)
    try:
        backup(url, target)
        verify(target)
    finally:
        os.umask(mask)
    assert list(target.parent.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_copy_has_what_is_in_the_log_still(tmp_path: Path, target: Path) -> None:
    """A copy of the file alone would not."""
    path = migrated(tmp_path)
    with contextlib.closing(connect(path, Use.WRITE)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(
            'INSERT INTO lifecycle VALUES (1, 7, \'{"records":[],"bundles":[],"plan":null,"requests":[]}\')'
        )
        assert backup(url_of(path), target).generation == 7


def test_a_copy_does_not_wait_for_a_writer(url: str, target: Path, tmp_path: Path) -> None:
    """Nor has it what was not committed."""
    with contextlib.closing(connect(tmp_path / "meshca.db", Use.WRITE)) as connection:
        begin(connection)
        connection.execute("DELETE FROM lifecycle")
        assert backup(url, target).generation == 2
        connection.execute("ROLLBACK")


async def write_on(store: Store, first: int) -> None:
    """A generation and a record, again and again."""
    for number in itertools.count(first):
        await commit(store.lifecycle, number)
        await store.ledger.intend(intent())


async def test_copies_made_while_a_server_writes_are_whole(tmp_path: Path, target: Path) -> None:
    """Each is one generation with exactly its changes, with all that was committed before it was begun."""
    async with opened(tmp_path, HurriedClock(NOW)) as store:
        await commit(store.lifecycle, 1)
        writing = asyncio.create_task(write_on(store, 2))
        seen = []
        for number in range(COPIES):
            before = (await store.lifecycle.load()).generation
            await store.lifecycle.changed(before)
            copy = target.with_name(f"{number}.db")
            found = await asyncio.to_thread(backup, url_of(tmp_path / "meshca.db"), copy)
            seen.append((before, found.generation, (await store.lifecycle.load()).generation))
        assert not writing.done()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert all(before < copied <= after for before, copied, after in seen)
    for number, (_, copied, _) in enumerate(seen):
        async with open_store(url_of(target.with_name(f"{number}.db")), SystemClock()) as store:
            assert await everything(store.lifecycle) == (generation(copied), newest_first(copied)[:1000])


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_a_target_that_exists_is_left_as_it_is(url: str, target: Path, there: str) -> None:
    """It may be the only good copy."""
    match there:
        case "file":
            target.write_text("good")
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to("nowhere")
    source, problem = unable(url, target)
    assert (source, problem) == (str(target), "exists already, and is left as it is; name a new file")


def test_a_target_needs_its_folder(url: str, tmp_path: Path) -> None:
    """A mistyped one is not made."""
    target = tmp_path / "none" / "copy.db"
    source, problem = unable(url, target)
    assert (source, "make its folder first" in problem) == (str(target), True)


def test_a_store_that_is_not_there_cannot_be_copied(tmp_path: Path, target: Path) -> None:
    """The store is named, not the copy."""
    source, problem = unable(url_of(tmp_path / "none.db"), target)
    assert source == str(tmp_path / "none.db")
    assert "the file cannot be opened" in problem


def test_another_database_cannot_be_copied(target: Path) -> None:
    """PostgreSQL has its own tools."""
    assert unable("mysql://host/meshca", target)[0] == "ledger.url"


def test_a_file_of_something_else_is_not_copied(tmp_path: Path, target: Path) -> None:
    """It would be no copy of a store."""
    path = tmp_path / "songs.db"
    path.touch()
    execute(path, "CREATE TABLE songs (title)")
    source, problem = unable(url_of(path), target)
    assert (source, "is a database of something else" in problem) == (str(path), True)


def damage(path: Path) -> None:
    """Break an index: its entries no longer say what the table says."""
    execute(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET rootpage = "
        "(SELECT rootpage FROM sqlite_master WHERE name = 'adoption_by_stream') "
        "WHERE name = 'issuance_intent_by_time'",
    )


def test_a_damaged_store_gives_no_copy(url: str, target: Path, tmp_path: Path) -> None:
    """Which would be kept in place of a good one."""
    damage(tmp_path / "meshca.db")
    assert "damaged" in unable(url, target)[1]


def test_a_full_disk_leaves_no_half(url: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is named."""
    settings = {**connecting._SETTINGS, Use.COPY: ("max_page_count=2",)}
    monkeypatch.setattr(connecting, "_SETTINGS", settings)
    source, problem = unable(url, target)
    assert (source.endswith(f" to {target}"), "the disk is full" in problem) == (True, True)


@pytest.mark.parametrize("part", ["lifecycle", "lifecycle_change"])
def test_a_lifecycle_that_cannot_be_read_gives_no_copy(url: str, target: Path, tmp_path: Path, part: str) -> None:
    """Roots would stand nowhere after it was put back."""
    changes = {"lifecycle": "body = '{}'", "lifecycle_change": "kind = 'leaf'"}
    execute(
        tmp_path / "meshca.db",
        "DROP TRIGGER lifecycle_change_no_update",
        f"UPDATE {part} SET {changes[part]}",  # noqa: S608 - ours
    )
    source, problem = unable(url, target)
    assert (source, "is damaged: " in problem) == (str(tmp_path / "meshca.db"), True)


def test_an_empty_file_is_no_copy(target: Path) -> None:
    """A backup that was killed leaves one."""
    target.touch()
    with pytest.raises(ConfigError) as caught:
        verify(target)
    assert "has no tables yet" in caught.value.problems[0]


def test_garbage_is_no_copy(target: Path) -> None:
    """Whatever its name."""
    target.write_bytes(b"garbage " * 1024)
    with pytest.raises(ConfigError) as caught:
        verify(target)
    assert "is no SQLite database" in caught.value.problems[0]


def test_a_copy_of_a_newer_version_is_refused(url: str, target: Path) -> None:
    """Only that version can use it."""
    backup(url, target)
    execute(target, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError) as caught:
        verify(target)
    assert "run the newer meshca" in caught.value.problems[0]


def test_a_copy_of_an_older_version_is_good(tmp_path: Path, target: Path) -> None:
    """Starting the server brings it up to date."""
    path = filled(tmp_path)
    downgrade(path, "0001", "the file")
    assert backup(url_of(path), target) == Contents(schema="0001", generation=0, issuances=1)


async def test_a_copy_that_was_put_back_is_the_store(url: str, target: Path, tmp_path: Path) -> None:
    """With its records, in a folder that is made if need be; the copy stays."""
    backup(url, target)
    back = url_of(tmp_path / "new" / "data" / "meshca.db")
    assert restore(target, back) == verify(target)
    async with open_store(back, SystemClock(), migrate=True) as store:
        assert await everything(store.lifecycle) == (generation(2), newest_first(2))
        await commit(store.lifecycle, 3)
    assert stat.S_IMODE((tmp_path / "new" / "data" / "meshca.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_nothing_is_put_over_a_store(url: str, target: Path, tmp_path: Path, end: str) -> None:
    """Nor beside the log of another, which SQLite would take for its own."""
    backup(url, target)
    there = tmp_path / f"there.db{end}"
    there.write_text("kept")
    with pytest.raises(ConfigError) as caught:
        restore(target, url_of(tmp_path / "there.db"))
    assert (caught.value.source, there.read_text()) == (str(there), "kept")
    assert f"move {tmp_path / 'there.db'} and its companions" in caught.value.problems[0]


def test_a_bad_copy_is_not_put_back(target: Path, tmp_path: Path) -> None:
    """It is looked through first."""
    target.write_bytes(b"garbage " * 1024)
    with pytest.raises(ConfigError):
        restore(target, url_of(tmp_path / "new" / "meshca.db"))
    assert not (tmp_path / "new").exists()
