"""Who is counted: agents from the one store, leaves from the other, none twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from meshca.authority.fleet import Word
from meshca.authority.gate import retire_gate
from meshca.errors import Unavailable
from meshca.ledger.record import Intent
from meshca.rotation.census import Census
from tests.fakes.adoption_store import FakeAdoption
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.pki import DAY, NOW
from tests.fakes.records import failed, intent, issued
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, agent, rotating


class Books:
    """What the stores hold, and the census that reads them."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.adoptions, self.ledger = FakeAdoption(), FakeLedger(self.clock)
        self.census = Census(
            adoptions=self.adoptions, ledger=self.ledger, clock=self.clock, seen_within=DAY, settle=MINUTE
        )

    async def issued(self, at: timedelta = timedelta(0), **changes: object) -> Intent:
        """One more leaf of a workload, below the old root."""
        made = intent(signer="ia", intended_at=NOW + at, not_after=NOW + at + DAY, **changes)
        await self.ledger.intend(made)
        return made

    async def renewed(self) -> Intent:
        """An hour later one more of it, below the new root."""
        made = intent(signer="ib", intended_at=NOW + HOUR, not_after=NOW + HOUR + DAY)
        await self.ledger.intend(made)
        return made


@pytest.fixture
def books() -> Books:
    """Empty stores."""
    return Books()


async def test_nobody(books: Books) -> None:
    """A mesh that has just begun."""
    assert await books.census.workloads(rotating()) == ()


async def test_an_agent_and_its_leaf_are_one_workload(books: Books) -> None:
    """Trust from the one store, signers from the other."""
    books.adoptions.record(agent())
    await books.issued()
    (one,) = await books.census.workloads(rotating())
    assert (one.pod, one.node, one.word, one.trusts, one.signers) == (
        "web-1",
        "node-1",
        Word.ACKNOWLEDGED,
        frozenset({OLD, NEW}),
        frozenset({OLD}),
    )


async def test_a_leaf_alone_is_a_workload(books: Books) -> None:
    """Its caller does not speak our protocol."""
    await books.issued(-HOUR)
    (one,) = await books.census.workloads(rotating())
    assert (one.word, one.seen_at, one.leaf_ends) == (Word.DELIVERED, NOW - HOUR, NOW - HOUR + DAY)


async def test_a_leaf_counts_until_its_end(books: Books) -> None:
    """By the clock, not by when it was pruned."""
    await books.issued()
    books.clock.move((DAY + MINUTE).total_seconds())
    assert await books.census.workloads(rotating()) == ()


async def test_a_leaf_that_was_never_signed_is_nobody_s(books: Books) -> None:
    """The intent failed."""
    made = await books.issued()
    books.ledger.finish(failed(made))
    assert await books.census.workloads(rotating()) == ()


async def test_a_leaf_that_was_replaced_counts_until_it_has_settled(books: Books) -> None:
    """Then only the new one does."""
    await books.issued()
    newer = await books.renewed()
    books.adoptions.record(agent(leaf=newer.serial))
    books.clock.move((HOUR + MINUTE / 2).total_seconds())
    (during,) = await books.census.workloads(rotating())
    books.clock.move((MINUTE / 2).total_seconds())
    (after,) = await books.census.workloads(rotating())
    assert (during.signers, after.signers) == (frozenset({OLD, NEW}), frozenset({NEW}))
    assert retire_gate([after], OLD).open


async def test_an_answer_that_was_lost_on_its_way_replaces_nothing(books: Books) -> None:
    """The new leaf is recorded as issued, the agent goes on with the old one: that holds the gate, by its name."""
    older = await books.issued()
    books.adoptions.record(agent(leaf=older.serial))
    newer = await books.renewed()
    books.ledger.finish(issued(newer))
    books.clock.move(2 * HOUR.total_seconds())
    found = await books.census.workloads(rotating())
    gate = retire_gate(found, OLD)
    assert (gate.open, [one.workload.pod for one in gate.stragglers]) == (False, ["web-1"])
    assert gate.opens_at == older.not_after


async def test_where_nobody_acknowledges_a_lost_answer_replaces_nothing(books: Books) -> None:
    """Nothing says whether the new leaf has come, so the old one holds the gate until it ends."""
    older = await books.issued()
    books.ledger.finish(issued(await books.renewed()))
    books.clock.move(2 * HOUR.total_seconds())
    gate = retire_gate(await books.census.workloads(rotating()), OLD)
    assert (gate.open, gate.opens_at) == (False, older.not_after)


async def test_an_intent_without_an_outcome_replaces_nothing_and_may_be_a_leaf(books: Books) -> None:
    """The process died between the two: it holds the gate of its own issuer, and clears that of no other."""
    older = await books.issued()
    books.adoptions.record(agent(leaf=older.serial))
    lost = await books.renewed()
    books.clock.move(2 * HOUR.total_seconds())
    found = await books.census.workloads(rotating())
    assert not retire_gate(found, OLD).open
    assert (retire_gate(found, NEW).open, retire_gate(found, NEW).opens_at) == (False, lost.not_after)


async def test_an_intent_without_an_outcome_holds_its_gate_until_it_ends(books: Books) -> None:
    """Where nothing says that a later one came."""
    await books.issued()
    books.ledger.finish(issued(await books.renewed()))
    books.clock.move(DAY.total_seconds())
    assert not retire_gate(await books.census.workloads(rotating()), OLD).open
    books.clock.move(1)
    assert retire_gate(await books.census.workloads(rotating()), OLD).open


async def test_an_agent_that_was_not_seen_for_long_does_not_count(books: Books) -> None:
    """For as long as was configured."""
    books.adoptions.record(agent(connected=False, seen_at=NOW - DAY))
    assert len(await books.census.workloads(rotating())) == 1
    books.clock.move(1)
    assert await books.census.workloads(rotating()) == ()


def adoptions_are_down(books: Books) -> None:
    """The one store."""
    books.adoptions.down = True


def ledger_is_down(books: Books) -> None:
    """The other."""
    books.ledger.down = True


@pytest.mark.parametrize("down", [adoptions_are_down, ledger_is_down], ids=lambda one: one.__name__)
async def test_what_cannot_be_read_makes_no_fleet(books: Books, down: Callable[[Books], None]) -> None:
    """Half a fleet would open a gate."""
    books.adoptions.record(agent())
    await books.issued()
    down(books)
    with pytest.raises(Unavailable) as error:
        await books.census.workloads(rotating())
    assert error.value.reason == "store"
