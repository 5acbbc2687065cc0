"""Reads, off the loop and past faults."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.errors import Unavailable
from meshca.store.reader import Reader
from meshca.store.schema import metadata
from tests.store.opening import migrated

TABLES = len(metadata.tables) + 1  # Alembic's own


def tables(connection: sqlite3.Connection) -> int:
    """How many tables there are."""
    found: int = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    return found


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    """A reader of an empty file."""
    made = Reader(migrated(tmp_path), "reader")
    yield made
    await made.close()


async def test_questions_run_on_the_readers_thread(reader: Reader) -> None:
    """The loop goes on meanwhile."""
    assert await reader.read(lambda _: threading.current_thread().name) == "reader"


async def test_each_question_gets_its_answer(reader: Reader) -> None:
    """Also when they share a batch."""
    assert list(await asyncio.gather(reader.read(tables), reader.read(lambda _: "other"))) == [TABLES, "other"]


async def test_a_question_nobody_waits_for_is_not_asked(reader: Reader) -> None:
    """Its caller left before the batch began."""
    asked = []
    task = asyncio.ensure_future(reader.read(lambda _: asked.append(1)))
    await asyncio.sleep(0)
    task.cancel()
    await reader.read(tables)
    assert asked == []


async def test_a_fault_fails_its_question_only(reader: Reader) -> None:
    """The next has a new connection where that helps."""
    bad = reader.read(lambda connection: connection.execute("SELECT * FROM nothing").fetchone())
    answers = await asyncio.gather(bad, reader.read(tables), return_exceptions=True)
    assert isinstance(answers[0], Unavailable)
    assert answers[1] == TABLES


async def test_a_file_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    """Until it is back."""
    reader = Reader(tmp_path / "meshca.db", "reader")
    with pytest.raises(Unavailable) as caught:
        await reader.read(tables)
    assert "cannot be opened" in caught.value.detail
    migrated(tmp_path)
    assert await reader.read(tables) == TABLES
    await reader.close()


async def test_a_lock_is_no_reason_for_a_new_connection(reader: Reader) -> None:
    """It passes by itself."""

    def locked(connection: sqlite3.Connection) -> None:
        seen.append(connection)
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    seen: list[sqlite3.Connection] = []
    for _ in range(2):
        with pytest.raises(Unavailable):
            await reader.read(locked)
    assert seen[0] is seen[1]
