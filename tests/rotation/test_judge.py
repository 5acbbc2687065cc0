"""Each guard of the table has its judgement; what cannot be counted is never safe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from meshca.authority.gate import Gate, Terms
from meshca.authority.history import Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.errors import Refused, Unavailable
from meshca.rotation.judge import MADE_WITHIN, OPEN, Judge, Publication, fits
from meshca.rotation.steady import SteadyClock
from meshca.rotation.steps import GRACE
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, make_ca
from tests.fakes.roots import HOUR, MINUTE, NEW, OLD, SECOND, intermediate, root, rotating, workload
from tests.fakes.rotation_rig import TERMS, FakeCensus

PLAN = Plan(old=OLD, new=NEW, automatic=True, compromised=True, window=5 * MINUTE, started_at=NOW, by="anna")
HOLDS = workload()


async def one_and_two() -> tuple[str, ...]:
    """Replicas that live."""
    return "one", "two"


def judge_of(census: FakeCensus, terms: Terms = TERMS, now: datetime = NOW) -> Judge:
    """A judge who looks then."""
    return Judge(census=census, terms=terms, clock=SteadyClock(FakeClock(now)))


def found(state: State, begins: datetime, *, trusted_since: datetime | None = None) -> Record:
    """A root that came to be known now."""
    ca = make_ca("root", begin=begins)
    return Record(
        id=certificate_id(ca.certificate),
        kind=Kind.ROOT,
        state=state,
        pem=ca.pem,
        since=NOW,
        trusted_since=trusted_since,
    )


def among(*records: Record, plan: Plan | None = None) -> Lifecycle:
    """They and nothing else."""
    return Lifecycle(generation=3, records=records, plan=plan)


class TestWithoutAFleet:
    """Guards that nobody has to be counted for."""

    @pytest.mark.parametrize(("act", "state"), [(Act.TAINT, State.RETIRING), (Act.ABORT, State.PREPARED)], ids=str)
    async def test_nothing_has_to_hold(self, act: Act, state: State) -> None:
        """Open whatever is the case, also while the store is gone."""
        census = FakeCensus(error=Unavailable("store", "gone"))
        assert await judge_of(census).gate(rotating(), act, root(state=state)) == OPEN

    async def test_a_bundle_that_fits(self) -> None:
        """Says how large it is with the new root, and how large it may be."""
        kept = among(root(OLD), root(NEW, State.PREPARED))
        gate = await judge_of(FakeCensus()).gate(kept, Act.DISTRIBUTE, kept.records[1])
        assert (gate.open, gate.why) == (True, "the bundle has 130 bytes with it, 1000000 are the most")

    @pytest.mark.parametrize(("more", "is_open"), [(0, True), (1, False)], ids=["to-the-byte", "one-more"])
    def test_a_bundle_that_is_too_large(self, more: int, *, is_open: bool) -> None:
        """The limit itself is allowed."""
        new = replace(root(NEW, State.PREPARED), pem="x" * (1_000_000 - 65 + more))
        assert fits(among(root(OLD), new), new).open is is_open

    def test_a_root_that_is_in_the_bundle_counts_once(self) -> None:
        """As large as it is."""
        kept = among(root(OLD), root(NEW, State.DISTRIBUTING))
        assert "130 bytes" in fits(kept, kept.records[1]).why

    async def test_one_that_never_signed_may_be_given_up(self) -> None:
        """No intermediate was ever made below it."""
        kept = among(root(OLD), root(NEW, State.DISTRIBUTING), intermediate("ia", OLD))
        gate = await judge_of(FakeCensus()).gate(kept, Act.ABORT, kept.records[1])
        assert (gate.open, gate.why) == (True, "it has never signed")

    async def test_one_that_has_signed_must_be_retired(self) -> None:
        """Leaves below it may live."""
        gate = await judge_of(FakeCensus()).gate(rotating(), Act.ABORT, rotating().records[1])
        assert not gate.open
        assert gate.why == "it has signed; leaves below it may live, so it is to be retired"

    async def test_nobody_is_counted_for_them(self) -> None:
        """Counting costs."""
        census = FakeCensus()
        await judge_of(census).gate(rotating(), Act.ABORT, rotating().records[1])
        assert census.asked == []


class TestAdopted:
    """Before a root signs."""

    @pytest.mark.parametrize(("trusts", "is_open"), [({OLD, NEW}, True), ({OLD}, False)], ids=["all", "not-all"])
    async def test_who_lives_must_trust_it(self, trusts: set[str], *, is_open: bool) -> None:
        """Counted as it is now."""
        census = FakeCensus(fleet=(workload(trusts=frozenset(trusts)),))
        kept = rotating()
        gate = await judge_of(census).gate(kept, Act.ACTIVATE, kept.records[1])
        assert (gate.open, gate.of, census.asked) == (is_open, 1, [kept.generation])

    async def test_it_is_told_since_when_it_is_trusted(self) -> None:
        """A record of before that was noted tells when it came into its state."""
        new = root(NEW, State.DISTRIBUTING, since=NOW - HOUR)
        gate = await judge_of(FakeCensus()).gate(among(root(OLD), new), Act.ACTIVATE, new)
        assert gate.why.endswith("given out since 2025-12-31T23:00:00+00:00")


class TestUnused:
    """Before a root is dropped."""

    @pytest.mark.parametrize("state", [State.RETIRING, State.DISTRIBUTING], ids=str)
    async def test_nobody_may_hold_a_leaf_below_it(self, state: State) -> None:
        """Who does is named."""
        ours = found(state, NOW)
        census = FakeCensus(fleet=(workload(signers=frozenset({ours.id})),))
        gate = await judge_of(census).gate(among(ours), Act.RETIRE, ours)
        assert (gate.open, [one.workload.pod for one in gate.stragglers]) == (False, ["web-1"])
        census.fleet = ()
        assert (await judge_of(census).gate(among(ours), Act.RETIRE, ours)).open

    @pytest.mark.parametrize(
        ("age", "passed", "is_open"),
        [
            (MADE_WITHIN, timedelta(0), True),
            (MADE_WITHIN + SECOND, DAY - SECOND, False),
            (MADE_WITHIN + SECOND, DAY, True),
        ],
        ids=["made-here", "found", "found-long-ago"],
    )
    async def test_what_was_signed_before_it_was_known(
        self, age: timedelta, passed: timedelta, *, is_open: bool
    ) -> None:
        """Is not recorded, so it is waited for as long as it may live."""
        theirs = found(State.RETIRING, NOW - age, trusted_since=NOW)
        gate = await judge_of(FakeCensus(seen_within=DAY), now=NOW + passed).gate(
            among(theirs), Act.RETIRE, theirs
        )
        assert gate.open is is_open
        if not is_open:
            assert gate.opens_at == NOW + DAY
            assert "before it was known here is not recorded" in gate.why

    @pytest.mark.parametrize(("replica", "is_open"), [("one", False), ("gone", True)], ids=["lives", "is-gone"])
    async def test_no_replica_may_sign_below_it(self, replica: str, *, is_open: bool) -> None:
        """It is named: without the root it could sign nothing. What one signed by that has gone is no matter."""
        old = found(State.RETIRING, NOW)
        kept = among(old, root(NEW), intermediate("ia", old.id, replica=replica))
        judge = Judge(census=FakeCensus(), terms=TERMS, clock=SteadyClock(FakeClock(NOW)), living=one_and_two)
        gate = await judge.gate(kept, Act.RETIRE, kept.records[0])
        assert gate.open is is_open
        assert (f"replica one still signs below {old.id[:12]}; give it what signs" in gate.why) is not is_open

    @pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRING], ids=["below-another", "signed-once"])
    async def test_what_signs_nothing_below_it_is_no_matter(self, state: State) -> None:
        """Only what a replica signs by now."""
        old = found(State.RETIRING, NOW)
        below = NEW if state is State.ACTIVE else old.id
        kept = among(old, root(NEW), intermediate("ia", below, state))
        judge = Judge(census=FakeCensus(), terms=TERMS, clock=SteadyClock(FakeClock(NOW)), living=one_and_two)
        assert (await judge.gate(kept, Act.RETIRE, old)).open


class TestOver:
    """Before a tainted root is dropped."""

    @pytest.mark.parametrize(
        ("window", "passed", "is_open"),
        [
            (5 * MINUTE, 5 * MINUTE + GRACE - SECOND, False),
            (5 * MINUTE, 5 * MINUTE + GRACE, True),
            (timedelta(0), timedelta(0), False),
            (timedelta(0), GRACE, True),
        ],
        ids=["during", "over", "at-once", "at-once-and-a-moment"],
    )
    async def test_its_window_ends_whoever_breaks(
        self, window: timedelta, passed: timedelta, *, is_open: bool
    ) -> None:
        """And a moment for who renews at its very end, or within a window of nothing."""
        kept = replace(rotating(State.TAINTED, State.ACTIVE), plan=replace(PLAN, window=window, tainted_at=NOW))
        gate = await judge_of(FakeCensus(fleet=(HOLDS,)), now=NOW + passed).gate(kept, Act.RETIRE, kept.records[0])
        assert gate.open is is_open

    @pytest.mark.parametrize("plan", [None, PLAN], ids=["no-plan", "no-beginning"])
    async def test_without_a_window_it_never_ends_by_itself(self, plan: Plan | None) -> None:
        """Then only what is in use decides."""
        kept = replace(rotating(State.TAINTED, State.ACTIVE), plan=plan)
        judge = judge_of(FakeCensus(fleet=(HOLDS,)), now=NOW + DAY)
        assert not (await judge.gate(kept, Act.RETIRE, kept.records[0])).open


@pytest.mark.parametrize(
    ("act", "record"),
    [
        (Act.ACTIVATE, rotating().records[1]),
        (Act.RETIRE, rotating(State.RETIRING, State.ACTIVE).records[0]),
        (Act.RETIRE, rotating(State.TAINTED, State.ACTIVE).records[0]),
    ],
    ids=["adopted", "unused", "over"],
)
async def test_a_fleet_that_cannot_be_counted_opens_nothing(act: Act, record: Record) -> None:
    """It raises; also at the end of a window."""
    judge = judge_of(FakeCensus(error=Unavailable("store", "gone")))
    with pytest.raises(Unavailable) as error:
        await judge.gate(rotating(), act, record)
    assert error.value.reason == "store"


async def test_an_act_that_is_not_possible_is_refused() -> None:
    """Before anybody is counted."""
    census = FakeCensus()
    with pytest.raises(Refused) as refusal:
        await judge_of(census).gate(rotating(), Act.RETIRE, rotating().records[0])
    assert (refusal.value.reason, census.asked) == ("transition", [])


@pytest.mark.parametrize("plan", [None, PLAN], ids=["by-hand", "planned"])
async def test_a_clock_that_was_set_forward_is_not_believed(plan: Plan | None) -> None:
    """While a root is on its way nothing is over before its time has passed here."""
    clock = FakeClock(NOW)
    judge = Judge(census=FakeCensus(seen_within=DAY), terms=TERMS, clock=SteadyClock(clock))
    theirs = found(State.RETIRING, NOW - HOUR, trusted_since=NOW)
    clock._now += DAY
    assert not (await judge.gate(among(theirs, plan=plan), Act.RETIRE, theirs)).open


async def test_a_clock_that_was_set_forward_is_believed_at_rest() -> None:
    """Nothing waits then, so nothing is hurried."""
    clock = FakeClock(NOW)
    judge = Judge(census=FakeCensus(), terms=TERMS, clock=SteadyClock(clock))
    clock._now += DAY
    await judge.fleet(among(root(OLD)))
    assert judge.clock.now() == NOW + DAY


async def test_with_a_fleet_that_was_counted_already() -> None:
    """The same judgement, and nobody is counted again."""
    census = FakeCensus(error=Unavailable("store", "gone"))
    kept = rotating()
    gate = await judge_of(census).gate(kept, Act.ACTIVATE, kept.records[1], (HOLDS,))
    assert (gate.open, gate.of, census.asked) == (True, 1, [])


ASKED = replace(TERMS, published_for=5 * MINUTE)


@dataclass(frozen=True, slots=True)
class Since:
    """Implements `rotation.judge.Publication`: every root since then."""

    at: datetime | None

    def published_since(self, root: str) -> datetime | None:
        """As the test says, of the new root only."""
        return self.at if root == NEW else None


async def judged(publication: Publication | None, terms: timedelta = ASKED.published_for) -> Gate:
    """Whether a root that was given out an hour ago may sign."""
    judge = Judge(
        census=FakeCensus(),
        terms=replace(TERMS, published_for=terms),
        clock=SteadyClock(FakeClock(NOW)),
        publication=publication,
    )
    record = replace(root(NEW, State.DISTRIBUTING), trusted_since=NOW - HOUR)
    return await judge.gate(rotating(), Act.ACTIVATE, record)


@pytest.mark.parametrize(
    ("since", "is_open", "opens_at", "words"),
    [
        (None, False, None, "it is not in the published roots yet; see the ConfigMaps in `meshca status`"),
        (NOW - MINUTE, False, NOW + 4 * MINUTE, "readers of the published roots have had it long enough at"),
        (NOW - 5 * MINUTE, True, None, ""),
    ],
    ids=["not-everywhere", "too-short", "long-enough"],
)
async def test_time_counts_from_publication(
    since: datetime | None,
    is_open: bool,  # noqa: FBT001 - a row
    opens_at: datetime | None,
    words: str,
) -> None:
    """Not from when the root was given out to agents."""
    gate = await judged(Since(since))
    assert (gate.open, gate.opens_at) == (is_open, opens_at)
    assert words in gate.why


async def test_nobody_tells() -> None:
    """Where terms ask for it and nobody tells of publication, the gate is closed."""
    assert not (await judged(None)).open


async def test_not_asked_for() -> None:
    """Where nothing is published nobody is asked."""
    assert (await judged(None, timedelta(0))).open


async def test_other_replicas_need_a_moment() -> None:
    """Until each has heard that a root signs no more it may go on to."""
    clock = FakeClock(NOW)
    judge = Judge(census=FakeCensus(), terms=TERMS, clock=SteadyClock(clock), follow=MINUTE)
    theirs = found(State.RETIRING, NOW)
    early = await judge.gate(among(theirs), Act.RETIRE, theirs)
    await clock.advance(60)
    assert (early.open, early.opens_at) == (False, NOW + MINUTE)
    assert (await judge.gate(among(theirs), Act.RETIRE, theirs)).open
