"""How the roots stand, as it is told: counted once, also while the store is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.fleet import Word, Workload
from meshca.authority.history import EMPTY, Bundle, Kind, Lifecycle, Plan, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.errors import Refused, Unavailable
from meshca.rotation.aim import Wish
from meshca.rotation.judge import Judge
from meshca.rotation.report import Forecast, RootReport
from meshca.rotation.reporting import SHOWN_RETIRED, Reporting
from meshca.rotation.steady import SteadyClock
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, Ca, make_ca
from tests.fakes.roots import HOUR, MINUTE, silent, workload
from tests.fakes.rotation_rig import TERMS, FakeCensus

OLD_CA, NEW_CA = make_ca("old"), make_ca("new")
SIGNER = make_ca("signer", OLD_CA)
OLD, NEW = certificate_id(OLD_CA.certificate), certificate_id(NEW_CA.certificate)
PLAN = Plan(old=OLD, new=NEW, automatic=True, window=5 * MINUTE, started_at=NOW, by="anna")


def record(ca: Ca, state: State, kind: Kind = Kind.ROOT) -> Record:
    """Of a certificate."""
    parent = "" if kind is Kind.ROOT else OLD
    return Record(
        id=certificate_id(ca.certificate), kind=kind, state=state, pem=ca.pem, since=NOW - DAY, parent=parent
    )


ROTATING = Lifecycle(
    generation=4,
    records=(
        record(OLD_CA, State.ACTIVE),
        record(SIGNER, State.ACTIVE, Kind.INTERMEDIATE),
        record(NEW_CA, State.DISTRIBUTING),
    ),
    bundles=(
        Bundle(sequence=1, version="a", roots=(OLD,), at=NOW - DAY),
        Bundle(sequence=2, version="ab", roots=(OLD, NEW), at=NOW - HOUR),
    ),
    plan=PLAN,
)
TRUSTS = workload("trusts", trusts=frozenset({OLD, NEW}), signers=frozenset({OLD}), leaf_ends=NOW + 2 * HOUR)
LACKS = workload(
    "lacks", trusts=frozenset({OLD}), signers=frozenset({OLD}), leaf_ends=NOW + HOUR, seen_at=NOW - HOUR
)
SILENT = replace(silent("silent"), trusts=frozenset({OLD, NEW}), signers=frozenset({NEW}), given_at=NOW - HOUR)


def reporting(census: FakeCensus) -> Reporting:
    """Over a fleet."""
    clock = FakeClock(NOW)
    return Reporting(
        judge=Judge(census=census, terms=TERMS, clock=SteadyClock(clock)), clock=clock, driven_by=lambda: "one"
    )


async def forecast(
    subject: Reporting, kept: Lifecycle, *, compromised: bool = False, window: timedelta | None = None
) -> Forecast:
    """With a usual window of three minutes."""
    return await subject.forecast(kept, Wish(compromised=compromised, window=window), usual=3 * MINUTE)


async def told(kept: Lifecycle, *fleet: Workload) -> RootReport:
    """How it stands with this fleet."""
    return await reporting(FakeCensus(fleet=fleet)).report(kept)


class TestReport:
    """`report`."""

    async def test_before_anything_is_kept(self) -> None:
        """Nothing is made up."""
        report = await told(EMPTY)
        assert (report.generation, report.sequence, report.bundle_version, report.authorities) == (0, 0, "", ())
        assert (report.plan, report.gate, report.next_step, report.warnings) == (None, None, "", ())

    async def test_what_is_in_force(self) -> None:
        """The newest bundle, of which state, and who takes steps."""
        report = await told(ROTATING)
        assert (report.generation, report.sequence, report.bundle_version) == (4, 2, "ab")
        assert (report.plan, report.driven_by) == (PLAN, "one")

    async def test_each_root_with_who_trusts_it_and_who_holds_leaves(self) -> None:
        """Roots first; an intermediate is trusted with its root."""
        old, new, signer = (await told(ROTATING, TRUSTS, LACKS, SILENT)).authorities
        assert [(one.trusted_by, one.leaves) for one in (old, new, signer)] == [(3, 2), (2, 1), (0, 0)]
        assert (old.last_leaf_ends, signer.last_leaf_ends) == (NOW + 2 * HOUR, None)
        assert (old.subject, signer.record.kind) == ("CN=old", Kind.INTERMEDIATE)
        assert (old.not_before, old.not_after) == (NOW - DAY, NOW + 3650 * DAY)

    async def test_a_leaf_whose_end_is_not_known(self) -> None:
        """Is counted and has no end."""
        (old, *_) = (await told(ROTATING, replace(TRUSTS, leaf_ends=None))).authorities
        assert (old.leaves, old.last_leaf_ends) == (1, None)

    async def test_the_fleet_by_whose_word_the_newest_bundle_is_theirs(self) -> None:
        """Who lacks a root of it has it by nobody's word."""
        fleet = (await told(ROTATING, TRUSTS, LACKS, SILENT)).fleet
        assert fleet is not None
        assert (fleet.seen, fleet.acknowledged, fleet.delivered, fleet.none) == (3, 1, 1, 1)
        assert (fleet.seen_since, fleet.oldest_seen) == (NOW - DAY, NOW - HOUR)

    async def test_an_empty_fleet(self) -> None:
        """Nobody is the oldest."""
        fleet = (await told(ROTATING)).fleet
        assert fleet is not None
        assert (fleet.seen, fleet.oldest_seen) == (0, None)

    async def test_without_a_bundle_everybody_has_what_they_have(self) -> None:
        """There is nothing to lack."""
        fleet = (await told(replace(ROTATING, bundles=()), TRUSTS)).fleet
        assert fleet is not None
        assert (fleet.acknowledged, TRUSTS.word) == (1, Word.ACKNOWLEDGED)

    @pytest.mark.parametrize(("one", "is_open"), [(TRUSTS, True), (LACKS, False)], ids=["ready", "straggler"])
    async def test_the_next_step_and_its_gate(self, one: Workload, *, is_open: bool) -> None:
        """Judged with the same fleet that is told of."""
        report = await told(ROTATING, one)
        assert report.gate is not None
        assert (report.gate.open, report.gate.of) == (is_open, 1)
        assert report.next_step.startswith(
            f"sign below {NEW[:12]}, by itself: {'safe now' if is_open else 'waits'}"
        )

    async def test_the_fleet_is_counted_once(self) -> None:
        """Counting costs, and two counts might not agree."""
        census = FakeCensus(fleet=(TRUSTS,))
        await reporting(census).report(ROTATING)
        assert census.asked == [4]

    async def test_while_the_store_is_gone(self) -> None:
        """No fleet, no gate that is open, and the rest is told all the same."""
        report = await reporting(FakeCensus(error=Unavailable("store", "gone"))).report(ROTATING)
        assert report.fleet is None
        assert report.gate is not None
        assert not report.gate.open
        assert report.gate.why.startswith("the store cannot be read now, so nobody can be counted")
        assert [one.leaves for one in report.authorities] == [0, 0, 0]

    async def test_replicas_that_cannot_be_asked_for(self) -> None:
        """The gate is closed and says why."""

        async def gone() -> tuple[str, ...]:
            raise Unavailable("store", "gone")

        clock = FakeClock(NOW)
        judge = Judge(census=FakeCensus(), terms=TERMS, clock=SteadyClock(clock), silent=gone)
        retiring = (record(OLD_CA, State.RETIRING), record(NEW_CA, State.ACTIVE))
        report = await Reporting(judge=judge, clock=clock).report(replace(ROTATING, records=retiring))
        assert report.gate is not None
        assert (report.gate.open, report.gate.why) == (False, "gone")

    async def test_what_ends_soon(self) -> None:
        """In words."""
        short = make_ca("short", begin=NOW - 3000 * DAY, end=NOW + 20 * DAY)
        report = await told(Lifecycle(records=(record(short, State.ACTIVE),)))
        (warning,) = report.warnings
        assert "ends at 2026-01-21T00:00:00+00:00, in 20 days" in warning

    async def test_of_what_is_retired_the_newest_few(self) -> None:
        """And of intermediates what signs; the rest is in the list."""
        gone = [record(make_ca(f"gone {number}"), State.RETIRED) for number in range(SHOWN_RETIRED + 2)]
        before = record(make_ca("before", OLD_CA), State.RETIRING, Kind.INTERMEDIATE)
        kept = replace(ROTATING, records=(*gone, before, *ROTATING.records))
        shown = [one.record.id for one in (await told(kept)).authorities]
        assert shown == [*(one.id for one in gone[2:]), OLD, NEW, certificate_id(SIGNER.certificate)]


class TestForecast:
    """`forecast`."""

    async def test_planned(self) -> None:
        """Whom it waits for, from the beginning."""
        census = FakeCensus(fleet=(TRUSTS, replace(LACKS, connected=False)))
        found = await forecast(reporting(census), replace(ROTATING, plan=None))
        assert [one.workload.pod for one in found.steps[1].holders] == ["lacks"]
        assert (found.steps[3].says.endswith("once none below it is in use"), found.plan) == (True, None)

    async def test_compromised(self) -> None:
        """Within the window that is asked for, or the usual one."""
        kept = replace(ROTATING, plan=None)
        found = await forecast(reporting(FakeCensus()), kept, compromised=True, window=7 * MINUTE)
        assert "within 7m" in found.steps[2].says
        found = await forecast(reporting(FakeCensus()), kept, compromised=True)
        assert "within 3m" in found.steps[2].says

    async def test_one_under_way_is_told_from_where_it_stands(self) -> None:
        """No new root is made; its gate names who lacks the one that is given out."""
        found = await forecast(reporting(FakeCensus(fleet=(TRUSTS, LACKS))), ROTATING)
        assert (len(found.steps), found.plan) == (3, PLAN)
        assert found.steps[0].says.startswith(f"sign below the new root {NEW[:12]} when")
        assert [one.workload.pod for one in found.steps[0].holders] == ["lacks"]

    async def test_one_under_way_once_the_new_root_signs(self) -> None:
        """Leaves are left, and who holds one is named."""
        retiring = (record(OLD_CA, State.RETIRING), record(NEW_CA, State.ACTIVE))
        found = await forecast(reporting(FakeCensus(fleet=(LACKS,))), replace(ROTATING, records=retiring))
        assert found.steps[0].says.startswith(f"replace every certificate below {OLD[:12]}")
        assert [one.workload.pod for one in found.steps[1].holders] == ["lacks"]

    async def test_one_under_way_that_is_compromised_stays_so(self) -> None:
        """Also for who does not say so, who does not set its window either."""
        kept = replace(ROTATING, plan=replace(PLAN, compromised=True))
        found = await forecast(reporting(FakeCensus()), kept, window=MINUTE)
        assert "within 5m" in found.steps[1].says

    async def test_one_that_was_aborted_is_turned_round_again(self) -> None:
        """As `rotate` does: what signs is to go."""
        aborted = replace(PLAN, old=NEW, new=OLD, paused=True)
        found = await forecast(reporting(FakeCensus()), replace(ROTATING, plan=aborted))
        assert found.steps[0].says.startswith(f"sign below the new root {NEW[:12]} when")
        assert found.plan == aborted

    async def test_a_window_is_told_to_its_end(self) -> None:
        """When it began is kept."""
        tainted = (record(OLD_CA, State.TAINTED), record(NEW_CA, State.ACTIVE))
        begun = replace(PLAN, compromised=True, tainted_at=NOW - MINUTE)
        found = await forecast(reporting(FakeCensus()), replace(ROTATING, records=tainted, plan=begun))
        assert "at 2026-01-01T00:04:05+00:00 at the latest" in found.steps[1].says

    async def test_a_taint(self) -> None:
        """Who does not renew within the window breaks; what signs is to stay."""
        kept = replace(ROTATING, records=(record(OLD_CA, State.RETIRING), record(NEW_CA, State.ACTIVE)))
        subject = reporting(FakeCensus(fleet=(TRUSTS, replace(LACKS, connected=False))))
        found = await subject.forecast_taint(kept, kept.records[0], MINUTE)
        assert [one.workload.pod for one in found.losers] == ["lacks"]
        assert (len(found.steps), found.plan) == (2, PLAN)

    async def test_a_single_act(self) -> None:
        """Judged by its own gate, not by that of the next step."""
        kept = replace(ROTATING, records=(record(OLD_CA, State.RETIRING), record(NEW_CA, State.ACTIVE)))
        subject = reporting(FakeCensus(fleet=(TRUSTS, LACKS)))
        found = await subject.forecast_act(kept, Act.RETIRE, kept.records[0], force=True)
        assert ([one.workload.pod for one in found.losers], found.plan) == (["trusts", "lacks"], PLAN)

    async def test_what_is_not_possible_is_not_foretold(self) -> None:
        """As the act itself would be refused."""
        subject = reporting(FakeCensus())
        with pytest.raises(Refused, match="retire is not possible for one that is active"):
            await subject.forecast_act(ROTATING, Act.RETIRE, ROTATING.records[0], force=True)
        with pytest.raises(Refused, match="taint is not possible for one that is active"):
            await subject.forecast_taint(ROTATING, ROTATING.records[0], MINUTE)

    @pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
    async def test_without_an_active_root(self, *, compromised: bool) -> None:
        """Refused: there is nothing to rotate from."""
        with pytest.raises(Refused) as refusal:
            await forecast(reporting(FakeCensus()), EMPTY, compromised=compromised)
        assert refusal.value.reason == "no_root"

    async def test_while_the_store_is_gone(self) -> None:
        """Nobody can be named, so nothing is foretold."""
        with pytest.raises(Unavailable):
            await forecast(reporting(FakeCensus(error=Unavailable("store", "gone"))), ROTATING)
