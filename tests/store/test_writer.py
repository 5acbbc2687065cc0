"""Group commit: one transaction for what gathers, and nothing half-written."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca import metrics
from meshca.errors import Unavailable
from meshca.store import connection as connecting
from meshca.store import writer as subject
from meshca.store.connection import Use, begin, connect
from meshca.store.rows import Row, intent_row, outcome_row
from meshca.store.writer import Writer
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.records import intent, issued
from tests.store.opening import migrated

MANY = 1000


class Subject:
    """A writer on a file that the test can also look into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.writer = Writer(path, self.clock)

    def count(self, table: str = "issuance_intent") -> int:
        """How many rows another process sees."""
        with contextlib.closing(connect(self.path, Use.READ)) as connection:
            found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
            return found

    @property
    def outcomes(self) -> int:
        """How many outcomes another process sees."""
        return self.count("issuance_outcome")

    async def recorded(self) -> Row:
        """Intend something; the row of its outcome."""
        one = intent()
        await self.writer.intend(intent_row(one))
        return outcome_row(issued(one))

    async def fill_disk(self) -> None:
        """Let the file not grow any more."""
        await self.writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())

    async def make_room(self) -> None:
        """Let it grow again; the thread is idle."""
        await asyncio.to_thread(
            lambda: self.writer._connection.get().execute("PRAGMA max_page_count = 1000000").fetchone()
        )

    async def retried(self) -> None:
        """Return once the outcomes that were kept have been tried again."""
        done = asyncio.Event()

        def batch_done() -> None:
            self.writer._after()
            done.set()

        self.writer._lane._batch_done = batch_done
        await self.clock.advance(subject.RETRY_SECONDS)
        await done.wait()

    async def refusal(self, *, size: int = 50_000) -> Unavailable:
        """Why an intent that needs a page is refused."""
        with pytest.raises(Unavailable) as caught:
            await self.writer.intend(intent_row(intent(rule="x" * size)))
        return caught.value


@pytest.fixture
async def subject_(tmp_path: Path) -> AsyncIterator[Subject]:
    """A writer on an empty file."""
    made = Subject(migrated(tmp_path))
    yield made
    await made.writer.close()


async def test_an_intent_is_seen_by_others_when_it_is_reported(subject_: Subject) -> None:
    """Committed, not queued."""
    await subject_.recorded()
    assert subject_.count() == 1


async def test_a_thousand_requests_make_two_commits(subject_: Subject) -> None:
    """One for their intents, one for their outcomes; each commit is one fsync."""
    rows = await asyncio.gather(*(subject_.recorded() for _ in range(MANY)))
    for row in rows:
        subject_.writer.finish(row)
    await subject_.writer.close()
    assert (subject_.count(), subject_.outcomes, subject_.writer.commits) == (MANY, MANY, 2)


async def test_outcomes_ride_with_the_next_intents(subject_: Subject) -> None:
    """A caller that asks again and again costs one commit a time, not two."""
    for _ in range(5):
        subject_.writer.finish(await subject_.recorded())
    assert (subject_.count(), subject_.outcomes, subject_.writer.commits) == (5, 4, 5)


async def test_the_queue_is_bounded(subject_: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it requests are refused at once instead of waiting without end."""
    monkeypatch.setattr(subject, "MAX_WAITING", 10)
    writer = Writer(subject_.path, subject_.clock)
    answers = await asyncio.gather(
        *(writer.intend(intent_row(intent())) for _ in range(15)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert (len(refused), subject_.count()) == (5, 10)
    await writer.close()


async def test_the_length_of_the_queue_is_a_metric(subject_: Subject) -> None:
    """Zero when all is written."""
    await subject_.recorded()
    await subject_.recorded()
    assert (len(subject_.writer), metrics.ledger_queue._value.get()) == (0, 0)


async def test_a_full_disk_refuses_intents_and_writes_nothing(subject_: Subject) -> None:
    """Unavailable, with what to do; the other intents of that group are refused as well."""
    await subject_.fill_disk()
    before = subject_.count()
    small, large = await asyncio.gather(
        subject_.writer.intend(intent_row(intent())),
        subject_.writer.intend(intent_row(intent(rule="x" * 50_000))),
        return_exceptions=True,
    )
    assert isinstance(small, Unavailable)
    assert isinstance(large, Unavailable)
    assert (large.reason, "the disk is full" in large.detail) == ("store", True)
    assert subject_.count() == before


async def test_writing_goes_on_when_there_is_room_again(subject_: Subject) -> None:
    """Without a restart."""
    await subject_.fill_disk()
    await subject_.refusal()
    await subject_.make_room()
    await subject_.writer.intend(intent_row(intent(rule="x" * 50_000)))
    assert subject_.count() == 1


async def test_outcomes_of_a_failed_group_are_kept(subject_: Subject) -> None:
    """The certificates exist; their outcomes are written with the next group."""
    row = await subject_.recorded()
    await subject_.fill_disk()
    subject_.writer.finish(row)
    await subject_.refusal()
    assert (subject_.outcomes, len(subject_.writer)) == (0, 1)
    await subject_.make_room()
    await subject_.recorded()
    assert (subject_.outcomes, len(subject_.writer)) == (1, 0)


async def test_kept_outcomes_are_tried_again_without_company(
    subject_: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second, until it works."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    row = await subject_.recorded()
    with contextlib.closing(connect(subject_.path, Use.WRITE)) as other:
        begin(other)
        subject_.writer.finish(row)
        await subject_.refusal()
        await subject_.retried()
        assert (subject_.outcomes, len(subject_.writer)) == (0, 1)
        other.execute("COMMIT")
    await subject_.retried()
    assert (subject_.outcomes, len(subject_.writer)) == (1, 0)


async def test_an_outage_is_logged_once_and_so_is_its_end(subject_: Subject) -> None:
    """Not once for each request."""
    with captured_logs() as logs:
        await subject_.fill_disk()
        await subject_.refusal()
        await subject_.refusal()
        await subject_.make_room()
        await subject_.recorded()
    assert [line["event"] for line in logs] == ["store.write_failed", "store.write_recovered"]


async def test_a_lock_that_is_not_given_up_refuses(subject_: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not harm what comes later."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    await subject_.recorded()
    with contextlib.closing(connect(subject_.path, Use.WRITE)) as other:
        begin(other)
        assert "held the write lock" in (await subject_.refusal(size=1)).detail
        other.execute("COMMIT")
    await subject_.recorded()
    assert subject_.count() == 2


async def test_a_connection_that_cannot_go_on_is_replaced(subject_: Subject) -> None:
    """The fault is reported once, the next group has a new connection."""
    await subject_.writer.run(lambda connection: connection.execute("PRAGMA query_only = ON").fetchone())
    assert "read-only" in (await subject_.refusal(size=1)).detail
    await subject_.recorded()
    assert subject_.count() == 1


async def test_an_intent_whose_caller_left_early_is_not_written(subject_: Subject) -> None:
    """Nobody will sign for it."""
    task = asyncio.ensure_future(subject_.recorded())
    await asyncio.sleep(0)
    task.cancel()
    await subject_.recorded()
    assert (task.cancelled(), subject_.count()) == (True, 1)


async def test_an_intent_whose_caller_left_late_gets_its_outcome(subject_: Subject) -> None:
    """It was written; the pipeline says that it was abandoned."""
    started, let_go = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        started.set()
        let_go.wait()

    one = intent()
    task = asyncio.ensure_future(subject_.writer.intend(intent_row(one)))
    holding = asyncio.ensure_future(subject_.writer.run(hold))
    await asyncio.to_thread(started.wait)  # the intent is in the open transaction
    task.cancel()
    let_go.set()
    await holding
    subject_.writer.finish(outcome_row(issued(one)))
    await subject_.recorded()
    assert (task.cancelled(), subject_.outcomes) == (True, 1)


async def test_the_outcome_of_a_refused_intent_is_not_kept(subject_: Subject) -> None:
    """A long outage must not gather outcomes of requests that it refused."""
    one = intent(rule="x" * 50_000)
    await subject_.fill_disk()
    with pytest.raises(Unavailable):
        await subject_.writer.intend(intent_row(one))
    subject_.writer.finish(outcome_row(issued(one)))
    assert len(subject_.writer) == 0


async def test_closing_tries_kept_outcomes_a_last_time(subject_: Subject) -> None:
    """An outage that has ended loses nothing."""
    row = await subject_.recorded()
    await subject_.fill_disk()
    subject_.writer.finish(row)
    await subject_.refusal()
    await subject_.make_room()
    await subject_.writer.close()
    assert subject_.outcomes == 1


async def test_what_cannot_be_written_at_the_end_is_logged(
    subject_: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept, and what comes too late."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0)
    row, late = await subject_.recorded(), await subject_.recorded()
    with contextlib.closing(connect(subject_.path, Use.WRITE)) as other, captured_logs() as logs:
        begin(other)
        subject_.writer.finish(row)
        await subject_.writer.close()
        subject_.writer.finish(late)
    assert [line["event"] for line in logs] == [
        "store.write_failed",
        "store.outcomes_lost",
        "store.outcome_lost",
    ]


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "moved"])
async def test_a_file_that_is_gone_refuses_intents(subject_: Subject, replaced: bool) -> None:  # noqa: FBT001 - a row
    """SQLite itself would go on writing to it, and the records would be lost; the operator is told at once."""
    await subject_.recorded()
    away = subject_.path.rename(subject_.path.with_name("away.db"))
    if replaced:
        migrated(subject_.path.parent)
    with captured_logs() as lines:
        refusal = await subject_.refusal(size=1)
    assert (refusal.reason, "restart" in refusal.detail) == ("store", True)
    assert [line["event"] for line in lines] == ["store.write_failed"]
    away.rename(subject_.path)


async def test_writing_goes_on_when_the_file_is_back(subject_: Subject) -> None:
    """With the outcomes of before, and without the intents that were refused."""
    row = await subject_.recorded()
    away = subject_.path.rename(subject_.path.with_name("away.db"))
    subject_.writer.finish(row)
    await subject_.refusal(size=1)
    away.rename(subject_.path)
    await subject_.recorded()
    assert (subject_.count(), subject_.outcomes) == (2, 1)
