"""Group commit on PostgreSQL: one transaction for what gathers, and nothing half-written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from meshca.clock import Clock, SystemClock
from meshca.errors import InvariantBroken, Unavailable
from meshca.ledger.port import SerialReused
from meshca.ledger.record import Intent
from meshca.store.postgres import writer as subject
from meshca.store.postgres.address import parse
from meshca.store.postgres.link import Link
from meshca.store.postgres.writer import Writer
from meshca.store.rows import intent_row, outcome_row
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.records import intent, issued
from tests.real.postgresql import Cluster
from tests.store.postgres.opening import fresh_database

pytestmark = pytest.mark.real("postgresql")
MANY = 300
HIDE = "ALTER TABLE issuance_intent RENAME TO hidden"
SHOW = "ALTER TABLE hidden RENAME TO issuance_intent"


class Subject:
    """A writer on a database that the test can also look into."""

    def __init__(self, cluster: Cluster, database: str, clock: Clock) -> None:
        self.cluster = cluster
        self.database = database
        self.link = Link(parse(cluster.url(database)), clock, "writer")
        self.writer = Writer(self.link)

    def count(self, table: str = "issuance_intent") -> int:
        """How many rows everybody sees."""
        found: int = self.cluster.execute(f"SELECT count(*) FROM {table}", database=self.database)[0][0]  # noqa: S608 - ours
        return found

    def execute(self, statement: str) -> None:
        """Change the database behind our back."""
        self.cluster.execute(statement, database=self.database)

    async def recorded(self) -> Intent:
        """An intent that is written."""
        one = intent()
        await self.writer.intend(intent_row(one))
        return one

    def finish(self, one: Intent) -> None:
        """Say what became of it."""
        self.writer.finish(outcome_row(issued(one)))


@contextlib.asynccontextmanager
async def opened(cluster: Cluster, database: str, clock: Clock) -> AsyncIterator[Subject]:
    """A writer that is closed in the end."""
    made = Subject(cluster, database, clock)
    try:
        yield made
    finally:
        await made.writer.close()
        await made.link.close()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def database(postgresql: Cluster) -> Iterator[str]:
    """A database with all tables."""
    with fresh_database(postgresql) as name:
        yield name


@pytest.fixture
async def writing(postgresql: Cluster, database: str, clock: FakeClock) -> AsyncIterator[Subject]:
    """A writer."""
    async with opened(postgresql, database, clock) as made:
        yield made


async def test_what_comes_together_is_one_transaction(writing: Subject) -> None:
    """However many."""
    await asyncio.gather(*(writing.recorded() for _ in range(MANY)))
    assert (writing.count(), writing.writer.commits, len(writing.writer)) == (MANY, 1, 0)


async def test_outcomes_ride_with_intents(writing: Subject) -> None:
    """Nobody waits for them."""
    one = await writing.recorded()
    writing.finish(one)
    await writing.recorded()
    assert (writing.count("issuance_outcome"), writing.writer.commits) == (1, 2)


async def test_an_outcome_does_not_wait_for_ever(writing: Subject) -> None:
    """It is written alone if nothing comes."""
    writing.finish(await writing.recorded())
    while writing.writer.commits < 2:  # noqa: ASYNC110 - it is written by itself
        await asyncio.sleep(0.001)
    assert writing.count("issuance_outcome") == 1


async def test_of_two_with_one_serial_the_first_is_written(writing: Subject) -> None:
    """Also when both come together."""
    one = intent()
    answers = await asyncio.gather(
        *(writing.writer.intend(intent_row(replace(one, namespace=name))) for name in ("a", "b")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), SerialReused]


async def test_a_group_that_fails_leaves_nothing(writing: Subject, clock: FakeClock) -> None:
    """Its intents are refused; the outcomes are kept, and written when it works again."""
    one = await writing.recorded()
    writing.execute(HIDE)
    writing.finish(one)
    with captured_logs() as logs:
        with pytest.raises(Unavailable, match="the tables are not those of this version"):
            await writing.recorded()
        assert len(writing.writer) == 1
        writing.execute(SHOW)
        assert writing.count("issuance_outcome") == 0
        await writing.recorded()
    assert (writing.count(), writing.count("issuance_outcome")) == (2, 1)
    assert [entry["event"] for entry in logs] == ["store.write_failed", "store.write_recovered"]


async def test_kept_outcomes_are_tried_again(
    writing: Subject, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else is written."""
    monkeypatch.setattr(subject, "RETRY_SECONDS", 0.0)
    one = await writing.recorded()
    writing.execute(HIDE)
    writing.finish(one)
    with captured_logs():
        with pytest.raises(Unavailable):
            await writing.recorded()
        writing.execute(SHOW)
        while len(writing.writer):  # noqa: ASYNC110 - it tries by itself
            await asyncio.sleep(0.001)
    assert writing.count("issuance_outcome") == 1


async def test_the_outcome_of_a_refused_intent_is_nothing(writing: Subject) -> None:
    """Nobody was given that certificate."""
    writing.execute(HIDE)
    one = intent()
    with captured_logs(), pytest.raises(Unavailable):
        await writing.writer.intend(intent_row(one))
    writing.finish(one)
    assert len(writing.writer) == 0


async def test_what_is_no_text_fails_alone(writing: Subject) -> None:
    """Its neighbours are written."""
    bad = writing.writer.intend(intent_row(intent(pod_name="\ud800")))
    answers = await asyncio.gather(writing.recorded(), bad, writing.recorded(), return_exceptions=True)
    assert isinstance(answers[1], InvariantBroken)
    assert writing.count() == 2


async def test_a_nul_in_a_name_is_kept(writing: Subject) -> None:
    """PostgreSQL knows no such character; a caller must not fail a group with it."""
    await asyncio.gather(writing.recorded(), writing.writer.intend(intent_row(intent(pod_name="web\0"))))
    assert writing.count() == 2


async def test_a_cancelled_intent_is_left_out(writing: Subject) -> None:
    """If its turn has not come yet."""
    asking = asyncio.ensure_future(writing.recorded())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await writing.recorded()
    assert writing.count() == 1


async def test_too_many_are_refused(writing: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this process runs out of memory."""
    monkeypatch.setattr(subject, "MAX_WAITING", 0)
    with pytest.raises(Unavailable, match="0 intents wait already"):
        await writing.recorded()


async def test_large_crowds_are_several_groups(writing: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction grows without bound."""
    monkeypatch.setattr(subject, "MAX_BATCH", 100)
    await asyncio.gather(*(writing.recorded() for _ in range(MANY)))
    assert (writing.count(), writing.writer.commits) == (MANY, 3)


async def test_an_error_that_nobody_knows_is_told(writing: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits must not wait for ever."""

    async def fail(_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched, captured_logs():
        patched.setattr(writing.link, "run", fail)
        with pytest.raises(InvariantBroken, match="does not know"):
            await writing.recorded()
    await writing.recorded()


async def test_a_closed_writer_writes_nothing(writing: Subject) -> None:
    """An outcome that comes then is logged as lost."""
    one = await writing.recorded()
    await writing.writer.close()
    with pytest.raises(Unavailable, match="the store is closed"):
        await writing.recorded()
    with captured_logs() as logs:
        writing.finish(one)
    assert [entry["event"] for entry in logs] == ["store.outcome_lost"]


async def test_what_waits_at_the_end_is_written(postgresql: Cluster, database: str) -> None:
    """An outcome that waits for company among it."""
    async with opened(postgresql, database, SystemClock()) as made:
        made.finish(await made.recorded())
    assert made.count("issuance_outcome") == 1


async def test_what_cannot_be_written_at_the_end_is_said(postgresql: Cluster, database: str) -> None:
    """With how many it were."""
    with captured_logs() as logs:
        async with opened(postgresql, database, SystemClock()) as made:
            made.finish(await made.recorded())
            made.execute(HIDE)
    assert {"event": "store.outcomes_lost", "count": 1}.items() <= logs[-1].items()
