"""What holds a rotation up or turns it round: an administrator, a large fleet, other replicas."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca import metrics
from meshca.authority.fleet import Workload
from meshca.authority.history import Lifecycle
from meshca.authority.lifecycle import Act, State
from meshca.errors import MeshcaError, Refused, Unavailable
from meshca.rotation.driver import URGENT_SECONDS
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW
from tests.fakes.roots import MINUTE
from tests.fakes.rotation_rig import FakeCensus
from tests.fakes.rotation_stage import ANNA, Stage, running

STOLEN = replace(ANNA, compromised=True)


class SlowCensus(FakeCensus):
    """Counting takes some time, as that of a large fleet does."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = seconds

    async def workloads(self, lifecycle: Lifecycle) -> tuple[Workload, ...]:
        """As `FakeCensus`, later."""
        await self.clock.sleep(self.seconds)
        return await super().workloads(lifecycle)


class TestLargeFleet:
    """Counting a large fleet takes a while, and is not all that the parent has to do."""

    @pytest.fixture
    async def large(self) -> AsyncIterator[Stage]:
        """A fleet that takes a second to count."""
        clock = FakeClock(NOW)
        async with running(Stage(clock, census=SlowCensus(clock, 1.0))) as made_:
            made_.everybody(trusts=1, signers=(0,))
            yield made_

    async def test_a_closed_gate_costs_a_tenth_of_the_time(self, large: Stage) -> None:
        """However long it stays closed."""
        await large.acts.rotate(ANNA, compromised=False, window=None)
        await large.turn(100)
        assert len(large.rig.census.asked) == 10

    async def test_a_compromised_root_that_signs_costs_half(self, large: Stage) -> None:
        """Until its successor signs: every look may bring that."""
        await large.acts.rotate(ANNA, compromised=True, window=10 * MINUTE)
        await large.turn(100)
        assert len(large.rig.census.asked) == 50

    async def test_a_tainted_root_goes_when_its_window_ends(self, large: Stage) -> None:
        """Although the next look would be later."""
        await large.acts.rotate(ANNA, compromised=True, window=timedelta(seconds=25))
        large.everybody(trusts=2, signers=(0,))
        await large.turn(3)
        assert large.states == [State.TAINTED, State.ACTIVE]
        looks = len(large.rig.census.asked)
        await large.turn(27)
        assert large.states == [State.TAINTED, State.ACTIVE]
        assert len(large.rig.census.asked) - looks <= 2
        await large.turn(3)
        assert large.states == [State.RETIRED, State.ACTIVE]

    async def test_a_paused_rotation_is_looked_at_calmly(self, large: Stage) -> None:
        """Also when the moment is over at which its next step would have been taken."""
        await large.acts.rotate(ANNA, compromised=True, window=timedelta(0))
        await large.acts.pause(STOLEN)
        await large.turn(5)
        before = large.upstream.asked
        await large.turn(60)
        assert large.upstream.asked - before <= 60 / URGENT_SECONDS

    async def test_a_report_counts_once(self, large: Stage) -> None:
        """What waits is judged by the fleet that is shown."""
        await large.acts.rotate(ANNA, compromised=False, window=None)
        await large.acts.pause(ANNA)
        await large.turn(5)
        before = len(large.rig.census.asked)
        asking = asyncio.create_task(large.acts.report())
        await large.turn(3)
        report = await asking
        assert (report.gate is not None, len(large.rig.census.asked) - before) == (True, 1)


class TestPauseAndAbort:
    """`pause`, `resume`, `abort`."""

    async def test_paused_nothing_moves(self, stage: Stage) -> None:
        """Until it is resumed, and then by itself; both are kept with who asked."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.acts.pause(ANNA)
        stage.everybody(trusts=2, signers=())
        await stage.turn(600)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        await stage.acts.resume(ANNA)
        await stage.turn(5)
        assert stage.states == [State.RETIRED, State.ACTIVE]
        assert [act for act in stage.acts_of(1) if act in {Act.PAUSE, Act.RESUME}] == [Act.PAUSE, Act.RESUME]

    async def test_a_stolen_root_that_stays_trusted_is_an_alarm(self, stage: Stage) -> None:
        """Also when its window is over, for as long as somebody holds up its replacement."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        await stage.acts.pause(STOLEN)
        await stage.turn(600)
        held = stage.rig.rotation.progress.held
        assert (stage.states[0], f"root {stage.roots[0].id[:16]}, whose key is stolen, stays trusted" in held) == (
            State.TAINTED,
            True,
        )
        assert [one.value for metric in metrics.rotation_held.collect() for one in metric.samples] == [1]
        await stage.acts.resume(STOLEN)
        await stage.turn(2)
        assert (stage.states[0], stage.rig.rotation.progress.held) == (State.RETIRED, "")

    async def test_aborted_before_it_signs(self, stage: Stage) -> None:
        """The new root is gone, its key too, and the bundle is as before."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn()
        await stage.acts.abort(ANNA)
        await stage.turn()
        assert stage.states == [State.ACTIVE, State.RETIRED]
        assert (len(stage.standings[-1].signer.roots), len(stage.upstream.materials)) == (1, 1)

    async def test_aborted_while_it_signs(self, stage: Stage) -> None:
        """The old root signs again; the new one is trusted until nobody holds a leaf below it."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0, 1))
        await stage.turn(2)
        assert stage.states == [State.RETIRING, State.ACTIVE]
        await stage.acts.abort(ANNA)
        await stage.turn(2)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        assert (stage.states, stage.rig.store.lifecycle.plan) == ([State.ACTIVE, State.RETIRED], None)

    @pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
    async def test_asked_for_again_after_an_abort(self, stage: Stage, *, compromised: bool) -> None:
        """The rotation is turned round again: what signs now is replaced, also when that is what was stolen."""
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0, 1))
        await stage.turn(2)
        await stage.acts.abort(ANNA)
        await stage.turn(2)
        stolen = stage.roots[0].id if compromised else ""
        again = await stage.acts.rotate(ANNA, compromised=compromised, window=MINUTE, root=stolen)
        await stage.turn(2)
        assert again.id == new.id
        assert stage.states == [State.TAINTED if compromised else State.RETIRING, State.ACTIVE]

    @pytest.mark.parametrize("aborted", [False, True])
    async def test_the_later_root_is_stolen(self, stage: Stage, *, aborted: bool) -> None:
        """The root before signs, and the stolen one goes within the window, in one commit."""
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0, 1))
        await stage.turn(2)
        if aborted:
            await stage.acts.abort(ANNA)
            await stage.turn(2)
        before = stage.rig.store.lifecycle.generation
        signs = await stage.acts.rotate(ANNA, compromised=True, window=MINUTE, root=new.id)
        assert (signs.id, stage.rig.store.lifecycle.generation) == (stage.roots[0].id, before + 1)
        assert stage.states == [State.ACTIVE, State.TAINTED]
        await stage.turn(67)
        assert (stage.states, stage.rig.store.lifecycle.plan) == ([State.ACTIVE, State.RETIRED], None)

    async def test_a_root_that_cannot_sign_again_replaces_none(self, stage: Stage) -> None:
        """It is proven first, and nothing changes."""
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0, 1))
        await stage.turn(2)
        before = stage.rig.store.lifecycle
        stage.upstream.errors["obtain"] = Unavailable("upstream", "gone")
        with pytest.raises(Unavailable):
            await stage.acts.rotate(ANNA, compromised=True, window=MINUTE, root=new.id)
        assert stage.rig.store.lifecycle == before

    async def test_too_late(self, stage: Stage) -> None:
        """What is tainted cannot sign again."""
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        with pytest.raises(Refused) as refusal:
            await stage.acts.abort(STOLEN)
        assert refusal.value.reason == "too_late"

    @pytest.mark.parametrize("act", ["pause", "resume", "abort"])
    async def test_that_a_stolen_root_stays_trusted_must_be_said(self, stage: Stage, act: str) -> None:
        """Whoever stops its replacement knows what it is; judged by what is kept, also if that is of just now."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        before = stage.rig.store.lifecycle
        with pytest.raises(Refused) as refusal:
            await getattr(stage.acts, act)(ANNA)
        assert (refusal.value.reason, stage.rig.store.lifecycle) == ("compromised", before)
        await getattr(stage.acts, act)(STOLEN)

    @pytest.mark.parametrize("force", [False, True])
    async def test_retiring_the_root_that_replaces_a_stolen_one_is_no_way_round(
        self, stage: Stage, *, force: bool
    ) -> None:
        """It is to abort by another name."""
        stage.everybody(trusts=1, signers=(0,))
        new = await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        with pytest.raises(Refused) as refusal:
            await stage.acts.retire(replace(ANNA, force=force), new.id)
        assert (refusal.value.reason, stage.states) == ("compromised", [State.ACTIVE, State.DISTRIBUTING])

    async def test_rotating_again_is_no_way_round_a_pause(self, stage: Stage) -> None:
        """Whoever held up the replacement of a stolen root decides when it goes on."""
        stage.everybody(trusts=1, signers=(0,))
        new = await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        await stage.acts.pause(STOLEN)
        with pytest.raises(Refused) as refusal:
            await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert refusal.value.reason == "compromised"
        assert (await stage.acts.rotate(ANNA, compromised=True, window=None)).id == new.id

    @pytest.mark.parametrize("act", [Act.PAUSE, Act.RESUME, Act.ABORT])
    async def test_what_cannot_be_done_is_foretold_to_nobody(self, stage: Stage, act: Act) -> None:
        """It is refused to whoever asks what it would do, as the act is."""
        with pytest.raises(Refused) as refusal:
            await stage.acts.foresee_course(act, compromised=True)
        assert refusal.value.reason == "no_rotation"
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        with pytest.raises(Refused) as refusal:
            await stage.acts.foresee_course(act, compromised=False)
        assert refusal.value.reason == "compromised"

    async def test_an_abort_that_comes_too_late_is_foretold_to_nobody(self, stage: Stage) -> None:
        """The second person is not asked for it."""
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        with pytest.raises(Refused) as refusal:
            await stage.acts.foresee_course(Act.ABORT, compromised=True)
        assert refusal.value.reason == "too_late"

    @pytest.mark.parametrize(
        ("act", "says"),
        [
            (Act.PAUSE, "take no step by itself until it is resumed: {0} signs, and root {0} stays trusted"),
            (Act.ABORT, "give up root {1}, which never signed: {0} signs, and root {0} stays trusted"),
            (Act.RESUME, "sign below the new root {1} when"),
        ],
    )
    async def test_what_it_would_do(self, stage: Stage, act: Act, says: str) -> None:
        """Which root signs, and which one stays trusted; nothing is done."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        before = stage.rig.store.lifecycle
        found = await stage.acts.foresee_course(act, compromised=False)
        ids = [one.id[:12] for one in stage.roots]
        assert found.steps[0].says.startswith(says.format(*ids))
        assert (found.plan, stage.rig.store.lifecycle) == (before.plan, before)

    async def test_that_a_stolen_root_stays_trusted_is_foretold(self, stage: Stage) -> None:
        """To whoever approves it."""
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        for act in (Act.PAUSE, Act.ABORT):
            found = await stage.acts.foresee_course(act, compromised=True)
            assert found.steps[0].says.endswith("stays trusted, although its key is stolen")

    async def test_going_back_is_foretold(self, stage: Stage) -> None:
        """The root that goes is named."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0, 1))
        await stage.turn(2)
        (step,) = (await stage.acts.foresee_course(Act.ABORT, compromised=False)).steps
        old, new = (one.id[:12] for one in stage.roots)
        assert step.says == (
            f"go back: {old} signs, and root {old} stays trusted; {new} goes once none below it is in use"
        )

    @pytest.mark.parametrize("act", ["pause", "resume", "abort"])
    async def test_without_a_rotation(self, stage: Stage, act: str) -> None:
        """Says that none is under way."""
        with pytest.raises(Refused) as refusal:
            await getattr(stage.acts, act)(ANNA)
        assert refusal.value.reason == "no_rotation"


class TestReplicas:
    """Who does not lead takes no step."""

    async def test_a_follower_waits(self) -> None:
        """It puts in force what others commit, and nothing else."""
        stage = Stage(FakeClock(NOW), leading=False)
        async with running(stage):
            await stage.acts.rotate(ANNA, compromised=False, window=None)
            await stage.turn(600)
            assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
            assert len(stage.standings[-1].signer.roots) == 2

    async def test_a_silent_replica_holds_the_old_root(self) -> None:
        """It may go on issuing below it, and nobody here would know."""
        cut_off: tuple[str, ...] = ("two",)

        async def silent() -> tuple[str, ...]:
            return cut_off

        stage = Stage(FakeClock(NOW), silent=silent)
        async with running(stage):
            await stage.acts.rotate(ANNA, compromised=False, window=None)
            await stage.turn(60)
            assert stage.states == [State.RETIRING, State.ACTIVE]
            assert "replica two is cut off or has died" in stage.rig.rotation.progress.held
            cut_off = ()
            await stage.turn(60)
            assert stage.states == [State.RETIRED, State.ACTIVE]

    async def test_a_conflict_is_looked_at_again(self, stage: Stage) -> None:
        """Nothing failed."""
        newer = replace(stage.rig.store.lifecycle, generation=stage.rig.store.lifecycle.generation + 1)
        await stage.acts.prepare(ANNA)
        newer = replace(stage.rig.store.lifecycle, generation=stage.rig.store.lifecycle.generation + 1)
        stage.rig.store.overtaken_by(newer)
        with contextlib.suppress(MeshcaError):
            await stage.acts.pause(ANNA)
        await stage.turn(2)
        assert stage.rig.rotation.progress.error is None
