"""Whole rotations over fakes: each step kept before it is done, none past a closed gate, each with who and why."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from meshca.authority.fleet import Workload
from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.authority.requests import MAX_REQUESTS
from meshca.config.rotation import RotationConfig
from meshca.errors import BadRequest, ConfigError, Conflict, MeshcaError, NotFound, Refused, Unavailable
from meshca.rotation.commands import Asked
from meshca.rotation.driver import URGENT_SECONDS
from meshca.rotation.standing import Standing
from meshca.rotation.steps import GRACE
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, ec_key, good_material, make_ca
from tests.fakes.root_reports import request as waiting
from tests.fakes.roots import MINUTE, workload
from tests.fakes.rotation_rig import FakeCensus, Rig, rig
from tests.fakes.upstream import FakeUpstream

HUGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\4\0" + bytes(740_000))
KEY = ec_key()
ANNA = Asked(by="uid 0", reason="the audit asks for it")
URGENT = replace(ANNA, force=True)
STOLEN = replace(ANNA, compromised=True)


def made() -> SigningMaterial:
    """Material below a root that begins when the test does: nothing was ever signed below it."""
    return good_material(root=make_ca("root", key=KEY, begin=NOW))


class Stage:
    """A driver that runs, its upstream, and everything that was put in force."""

    def __init__(self, clock: FakeClock, material: SigningMaterial | None = None, **options: Any) -> None:
        self.clock = clock
        self.upstream = FakeUpstream(material or made())
        self.standings: list[Standing] = []
        self.rig: Rig = rig(self.upstream, clock, self._publish, **options)
        self.acts = self.rig.acts

    async def _publish(self, standing: Standing) -> None:
        self.standings.append(standing)

    @property
    def states(self) -> list[State]:
        """Of the roots, oldest first."""
        return [one.state for one in self.rig.store.lifecycle.of(Kind.ROOT)]

    @property
    def roots(self) -> tuple[Record, ...]:
        """Oldest first."""
        return self.rig.store.lifecycle.of(Kind.ROOT)

    def everybody(self, *, trusts: int, signers: tuple[int, ...], **options: Any) -> None:
        """Let there be one workload that trusts so many of the roots and holds leaves below some of them."""
        ids = [one.id for one in self.roots]
        one = workload(
            trusts=frozenset(ids[:trusts]), signers=frozenset(ids[index] for index in signers), **options
        )
        self.rig.census.fleet = (one,)

    async def turn(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)

    def acts_of(self, index: int) -> list[Act | None]:
        """What was done to a root, in order."""
        return [one.act for one in self.rig.store.history if one.authority == self.roots[index].id]


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    """With the driver running."""
    await stage.rig.rotation.start()
    task = asyncio.create_task(stage.rig.rotation.run())
    try:
        yield stage
    finally:
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A CA with one root that runs."""
    async with running(Stage(FakeClock(NOW))) as made:
        yield made


class TestPlanned:
    """`rotate`: everything by itself, as gates open."""

    async def test_waits_for_trust_then_for_leaves(self, stage: Stage) -> None:
        """The new root signs once all trust it, the old one goes once nobody holds a leaf below it."""
        stage.everybody(trusts=1, signers=(0,))
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn(60)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        assert stage.states == [State.RETIRING, State.ACTIVE]
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(2)
        assert (stage.states, stage.roots[1].id) == ([State.RETIRED, State.ACTIVE], new.id)
        assert stage.rig.store.lifecycle.plan is None

    async def test_what_is_in_force_in_each_phase(self, stage: Stage) -> None:
        """The bundle grows; then the new root signs and the old one vouches for the server; then that is gone."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn()
        trusting = stage.standings[-1]
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        signing = stage.standings[-1]
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(2)
        alone = stage.standings[-1]
        assert [len(one.signer.roots) for one in (trusting, signing, alone)] == [2, 2, 1]
        assert trusting.signer.certificate == trusting.serving.certificate
        assert signing.signer.certificate != signing.serving.certificate == trusting.signer.certificate
        assert alone.signer.certificate == alone.serving.certificate == signing.signer.certificate

    async def test_slots_of_both_lines_are_known(self, stage: Stage) -> None:
        """While the new root signs, what is made for ourselves is below the old one; at rest both are one slot."""
        progress = stage.rig.rotation.progress
        assert progress.slot is progress.serving is not None
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        signing, standing = stage.rig.rotation.progress, stage.standings[-1]
        assert signing.slot is not None
        assert signing.serving is not None
        assert signing.slot.issuer.certificate == standing.signer.certificate
        assert signing.serving.issuer.certificate == standing.serving.certificate
        assert signing.slot.issuer.certificate != signing.serving.issuer.certificate

    async def test_the_key_of_the_old_root_is_deleted(self, stage: Stage) -> None:
        """Only once the state says that it is retired."""
        stage.everybody(trusts=2, signers=())
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=2, signers=())
        await stage.turn(5)
        assert stage.states == [State.RETIRED, State.ACTIVE]
        assert len(stage.upstream.materials) == 1

    async def test_who_asked_is_kept(self, stage: Stage) -> None:
        """With the reason, what was found of each guard, and what meshca did by itself."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn(5)
        made, distributed, planned, activated = [
            one for one in stage.rig.store.history if one.authority == stage.roots[1].id
        ]
        assert [one.by for one in (made, distributed, planned)] == ["uid 0"] * 3
        assert planned.reason == ANNA.reason
        assert (activated.act, activated.by, bool(activated.guard)) == (Act.ACTIVATE, "meshca", True)

    async def test_asked_again_it_goes_on(self, stage: Stage) -> None:
        """Whoever asks a second time gets the same rotation, not another root."""
        stage.everybody(trusts=1, signers=(0,))
        first = await stage.acts.rotate(ANNA, compromised=False, window=None)
        second = await stage.acts.rotate(replace(ANNA, by="uid 1"), compromised=False, window=None)
        assert (first.id, len(stage.roots)) == (second.id, 2)

    async def test_a_held_step_is_told(self, stage: Stage) -> None:
        """Why the next step is not taken is there for alarms."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.turn(2)
        assert "activate of" in stage.rig.rotation.progress.held

    async def test_a_fleet_that_cannot_be_counted_opens_nothing(self, stage: Stage) -> None:
        """The step is tried again when the store is back."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.rig.census.error = Unavailable("store", "gone")
        await stage.turn(60)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        stage.rig.census.error = None
        await stage.turn(120)
        assert stage.states == [State.RETIRED, State.ACTIVE]


class TestCompromised:
    """`rotate --compromised`."""

    async def test_every_leaf_is_ordered_anew(self, stage: Stage) -> None:
        """The order names the old signers and the window, and begins when the old root is tainted."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn(2)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        order = stage.standings[-1].order
        below = {
            one.id for one in stage.rig.store.lifecycle.of(Kind.INTERMEDIATE) if one.parent == stage.roots[0].id
        }
        assert set(order.signers) == below | {stage.roots[0].id}
        assert order.window == MINUTE

    async def test_the_old_root_goes_when_nobody_needs_it(self, stage: Stage) -> None:
        """Before the window's end."""
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(2)
        assert stage.states == [State.RETIRED, State.ACTIVE]
        assert stage.standings[-1].order.signers == ()

    async def test_stragglers_are_left_behind_at_the_end(self, stage: Stage) -> None:
        """Who does not trust the new root holds it up for half the window, and the old one goes at the end."""
        stage.everybody(trusts=1, signers=(0,), connected=False)
        await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        await stage.turn(25)
        assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
        await stage.turn(10)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        await stage.turn(62)
        assert stage.states == [State.RETIRED, State.ACTIVE]
        forced = [one for one in stage.rig.store.history if one.forced]
        assert [one.act for one in forced if one.act is not Act.SUPERSEDE] == [Act.ACTIVATE]

    async def test_at_once(self, stage: Stage) -> None:
        """A window of nothing still leaves those within reach a moment, in which the order is in force."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=timedelta(0))
        await stage.turn(GRACE.total_seconds() + 1)
        assert (stage.states, stage.standings[-1].order.window) == ([State.TAINTED, State.ACTIVE], timedelta(0))
        assert stage.standings[-1].order.signers
        await stage.turn(GRACE.total_seconds() + 1)
        assert stage.states == [State.RETIRED, State.ACTIVE]

    async def test_nobody_loses_trust_in_the_instant_of_the_order(self, stage: Stage) -> None:
        """With a window of nothing, who holds an old leaf is ordered anew before the old root goes."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=timedelta(0))
        stage.everybody(trusts=2, signers=(0,))
        await stage.turn()
        assert stage.states == [State.TAINTED, State.ACTIVE]
        assert stage.roots[0].id in stage.standings[-1].order.signers
        await stage.turn(GRACE.total_seconds() + 1)
        assert stage.states == [State.RETIRED, State.ACTIVE]

    async def test_a_new_root_with_the_stolen_key_is_no_way_out(self, stage: Stage) -> None:
        """Refused with what to do; the thief could sign on."""
        old, material = stage.roots[0], next(iter(stage.upstream.materials.values()))
        twin = make_ca("twin", key=KEY, begin=NOW)
        stage.upstream.offer(material, good_material(root=twin))
        await stage.acts.prepare(ANNA, same_key=True)
        assert stage.roots[1].id == certificate_id(twin.certificate) != old.id
        with pytest.raises(Refused) as refusal:
            await stage.acts.rotate(ANNA, compromised=True, window=None)
        assert refusal.value.reason == "same_key"

    async def test_its_pace_is_set_by_who_says_compromised(self, stage: Stage) -> None:
        """Whoever may only go on with it changes no window."""
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=DAY)
        await stage.acts.rotate(ANNA, compromised=False, window=timedelta(0))
        plan = stage.rig.store.lifecycle.plan
        assert plan is not None
        assert (plan.window, plan.compromised) == (DAY, True)

    async def test_a_planned_rotation_becomes_urgent(self, stage: Stage) -> None:
        """The same rotation, with a window from now on."""
        stage.everybody(trusts=1, signers=(0,))
        first = await stage.acts.rotate(ANNA, compromised=False, window=None)
        second = await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        await stage.turn(40)
        assert (first.id, stage.states) == (second.id, [State.TAINTED, State.ACTIVE])


class TestSingleSteps:
    """`prepare`, `activate`, `taint`, `retire`, by hand."""

    async def test_nothing_follows_by_itself(self, stage: Stage) -> None:
        """After `prepare` the root is trusted and waits."""
        new = await stage.acts.prepare(ANNA)
        await stage.turn(600)
        assert (new.state, stage.states) == (State.DISTRIBUTING, [State.ACTIVE, State.DISTRIBUTING])

    async def test_one_after_the_other(self, stage: Stage) -> None:
        """Each through its gate."""
        new = await stage.acts.prepare(ANNA)
        await stage.acts.activate(ANNA, new.id[:12])
        await stage.turn()
        await stage.acts.retire(ANNA, stage.roots[0].id)
        await stage.turn()
        assert (stage.states, stage.rig.store.lifecycle.plan) == ([State.RETIRED, State.ACTIVE], None)

    async def test_tainted_by_hand(self, stage: Stage) -> None:
        """With a window of its own."""
        new = await stage.acts.prepare(ANNA)
        await stage.acts.activate(ANNA, new.id)
        stage.everybody(trusts=2, signers=(0,))
        await stage.acts.taint(ANNA, stage.roots[0].id, MINUTE)
        await stage.turn()
        assert (stage.states, stage.standings[-1].order.window) == ([State.TAINTED, State.ACTIVE], MINUTE)

    @pytest.mark.parametrize("act", ["activate", "retire"])
    async def test_a_closed_gate(self, stage: Stage, act: str) -> None:
        """Refused with who would break; nothing changes."""
        await stage.acts.prepare(ANNA)
        stage.everybody(trusts=1, signers=(0,), connected=False)
        if act == "retire":
            await stage.acts.activate(replace(ANNA, force=True), stage.roots[1].id)
        before = stage.rig.store.lifecycle
        root = stage.roots[1 if act == "activate" else 0].id
        with pytest.raises(Refused) as refusal:
            await getattr(stage.acts, act)(ANNA, root)
        assert refusal.value.reason == "gate_closed"
        assert "spiffe://cluster.local/ns/shop/sa/web in web-1" in refusal.value.detail
        assert stage.rig.store.lifecycle == before

    async def test_forced(self, stage: Stage) -> None:
        """It is done, and kept as forced, with what the gate said and why."""
        await stage.acts.prepare(ANNA)
        stage.everybody(trusts=1, signers=(0,))
        await stage.acts.activate(URGENT, stage.roots[1].id)
        change = stage.rig.store.history[-1]
        assert (change.act, change.forced, change.reason, bool(change.guard)) == (
            Act.ACTIVATE,
            True,
            URGENT.reason,
            True,
        )

    async def test_forced_without_a_reason(self, stage: Stage) -> None:
        """Refused before anything is looked at twice."""
        await stage.acts.prepare(ANNA)
        stage.everybody(trusts=1, signers=(0,))
        with pytest.raises(BadRequest) as refusal:
            await stage.acts.activate(replace(URGENT, reason=""), stage.roots[1].id)
        assert refusal.value.reason == "reason"

    async def test_prepared_twice(self, stage: Stage) -> None:
        """One rotation at a time; the refusal says whose it is."""
        await stage.acts.prepare(ANNA)
        with pytest.raises(Refused, match="uid 0 began a rotation"):
            await stage.acts.prepare(ANNA)

    @pytest.mark.parametrize("name", ["", "f" * 64], ids=["nothing", "unknown"])
    @pytest.mark.parametrize("act", ["activate", "retire", "taint"])
    async def test_an_unknown_root(self, stage: Stage, act: str, name: str) -> None:
        """Says where the roots are listed."""
        window = (MINUTE,) if act == "taint" else ()
        with pytest.raises(NotFound, match="there is no such root; `meshca root list` shows all") as refusal:
            await getattr(stage.acts, act)(ANNA, name, *window)
        assert refusal.value.reason == "root"

    async def test_a_beginning_that_two_roots_share(self, stage: Stage) -> None:
        """More of it is asked for."""
        kept = stage.rig.store.lifecycle
        twin = replace(stage.roots[0], id=stage.roots[0].id[:-1] + "x", state=State.RETIRED)
        stage.rig.store.lifecycle = replace(kept, records=(*kept.records, twin))
        with pytest.raises(NotFound, match="more than one root's id begins so; give more of it"):
            await stage.acts.retire(ANNA, twin.id[:12])

    @pytest.mark.parametrize("act", ["activate", "retire", "taint"])
    async def test_an_act_that_is_not_possible(self, stage: Stage, act: str) -> None:
        """The active root: another has to sign first."""
        window = (MINUTE,) if act == "taint" else ()
        with pytest.raises(Refused, match="activate another in its place first") as refusal:
            await getattr(stage.acts, act)(URGENT, stage.roots[0].id, *window)
        assert refusal.value.reason == "transition"

    async def test_a_prepared_root_is_given_up(self, stage: Stage) -> None:
        """`retire` of one that nobody trusts yet."""
        stage.upstream.named = [make_ca("more", begin=NOW)]
        stage.upstream.change()
        await stage.turn()
        await stage.acts.retire(ANNA, stage.roots[1].id)
        assert (stage.states, stage.acts_of(1)[-1]) == ([State.ACTIVE, State.RETIRED], Act.ABORT)

    async def test_many_stragglers_are_counted(self, stage: Stage) -> None:
        """Ten are named, the rest is a number."""
        await stage.acts.prepare(ANNA)
        lacking = [workload(f"w{number}", trusts=frozenset(), connected=False) for number in range(12)]
        stage.rig.census.fleet = tuple(lacking)
        with pytest.raises(Refused, match=r"; and 2 more$") as refusal:
            await stage.acts.activate(ANNA, stage.roots[1].id)
        assert refusal.value.detail.count("shop/sa/web in w") == 10

    async def test_roots_that_are_not_made_here(self, stage: Stage) -> None:
        """The upstream's refusal is told, and nothing was begun."""
        stage.upstream.makes_roots = False
        with pytest.raises(Refused) as refusal:
            await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert (refusal.value.reason, stage.rig.store.lifecycle.plan) == ("upstream", None)

    async def test_a_bundle_that_gets_too_large(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused at prepare, with the number; the new root is nobody's."""
        monkeypatch.setattr("meshca.rotation.judge.LARGEST_BUNDLE", 1000)
        with pytest.raises(Refused, match="1000 are the most") as refusal:
            await stage.acts.prepare(ANNA)
        assert (refusal.value.reason, stage.states) == ("bundle_too_large", [State.ACTIVE])

    async def test_two_administrators(self, stage: Stage) -> None:
        """One wins, the other is told, and there is one rotation."""
        other = replace(stage.rig.store.lifecycle, generation=stage.rig.store.lifecycle.generation + 1)
        stage.rig.store.overtaken_by(other)
        with pytest.raises(Conflict):
            await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert stage.rig.store.lifecycle.plan is None


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


class TestFound:
    """A root that was there before anything was kept of it."""

    async def test_what_it_signed_before_is_waited_for(self) -> None:
        """An upgrade, or a lost store: no leaf of it is known, so it is trusted as long as one can live."""
        census = FakeCensus(seen_within=10 * MINUTE)
        stage = Stage(FakeClock(NOW), good_material(), census=census)
        async with running(stage):
            await stage.acts.rotate(ANNA, compromised=False, window=None)
            await stage.turn(500)
            assert stage.states == [State.RETIRING, State.ACTIVE]
            assert "before it was known here" in stage.rig.rotation.progress.held
            await stage.turn(200)
            assert stage.states == [State.RETIRED, State.ACTIVE]


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
        again = await stage.acts.rotate(ANNA, compromised=compromised, window=MINUTE)
        await stage.turn(2)
        assert again.id == new.id
        assert stage.states == [State.TAINTED if compromised else State.RETIRING, State.ACTIVE]

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

    @pytest.mark.parametrize("act", ["pause", "resume", "abort"])
    async def test_without_a_rotation(self, stage: Stage, act: str) -> None:
        """Says that none is under way."""
        with pytest.raises(Refused) as refusal:
            await getattr(stage.acts, act)(ANNA)
        assert refusal.value.reason == "no_rotation"


class TestLostStore:
    """Roots that are found, and of which nothing is kept."""

    async def test_of_several_roots_none_is_retired_early(self) -> None:
        """What either of them has signed is not known, however short ago they were made, until it has ended."""
        stage = Stage(FakeClock(NOW), census=FakeCensus(seen_within=MINUTE))
        stage.upstream.offer(*stage.upstream.materials.values(), made())
        async with running(stage):
            assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
            with pytest.raises(Refused, match="what it signed before it was known here is not recorded"):
                await stage.acts.retire(ANNA, stage.roots[1].id)
            await stage.turn(MINUTE.total_seconds())
            await stage.acts.retire(ANNA, stage.roots[1].id)
            assert stage.states == [State.ACTIVE, State.RETIRED]


class TestPluggedIn:
    """A CA that the operator puts somewhere else."""

    async def test_another_signer_is_never_a_jump(self) -> None:
        """It is prepared, distributed, and signs when all trust it; the old one goes when nobody needs it."""
        stage = Stage(FakeClock(NOW), plugged_in=True)
        async with running(stage):
            (old,) = stage.upstream.materials.values()
            other = good_material(root=make_ca("other", begin=NOW))
            stage.everybody(trusts=1, signers=(0,))
            stage.upstream.unwanted.add(stage.roots[0].id)
            stage.upstream.change(old, other)
            await stage.turn(60)
            assert stage.states == [State.ACTIVE, State.DISTRIBUTING]
            assert stage.standings[-1].signer.certificate == old.certificate
            stage.everybody(trusts=2, signers=(0,))
            await stage.turn(60)
            assert stage.standings[-1].signer.certificate == other.certificate
            stage.everybody(trusts=2, signers=(1,))
            await stage.turn(60)
            assert stage.states == [State.RETIRED, State.ACTIVE]

    async def test_a_signer_below_the_other_of_two_named_roots_is_the_one_that_is_meant(self) -> None:
        """Both sign, for the one before is kept; the one that is there now is rotated to."""
        stage = Stage(FakeClock(NOW), plugged_in=True)
        async with running(stage):
            (old,) = stage.upstream.materials.values()
            other = good_material(root=make_ca("other", begin=NOW))
            stage.everybody(trusts=1, signers=(0,))
            stage.upstream.current.add(stage.roots[0].id)
            stage.upstream.change(old, other)
            await stage.turn(60)
            assert (stage.states, stage.rig.store.lifecycle.plan) == ([State.ACTIVE, State.DISTRIBUTING], None)
            stage.upstream.current = {stage.roots[1].id}
            stage.everybody(trusts=2, signers=(0,))
            await stage.turn(60)
            assert stage.states == [State.RETIRING, State.ACTIVE]

    async def test_a_signer_that_does_not_prove_itself_is_not_taken_up(self) -> None:
        """It stays unknown, and what signs goes on."""
        stage = Stage(FakeClock(NOW), plugged_in=True)
        async with running(stage):
            (old,) = stage.upstream.materials.values()
            stage.upstream.change(old, replace(good_material(), key=good_material().key))
            await stage.turn(60)
            assert (stage.states, len(stage.standings)) == ([State.ACTIVE], 1)
            assert stage.rig.rotation.progress.error is not None

    async def test_a_root_for_which_the_bundle_has_no_room_is_not_taken_up(self) -> None:
        """It stays unknown, the number is shown, and the error ends when it is taken away."""
        stage = Stage(FakeClock(NOW), plugged_in=True)
        async with running(stage):
            stage.upstream.named.append(make_ca("huge", extra=(HUGE,)))
            stage.upstream.change()
            await stage.turn()
            assert (stage.states, len(stage.standings)) == ([State.ACTIVE], 1)
            assert "1000000 are the most" in str(stage.rig.rotation.progress.error)
            stage.upstream.named.clear()
            stage.upstream.change()
            await stage.turn()
            assert stage.rig.rotation.progress.error is None

    async def test_a_problem_of_the_source_is_shown(self) -> None:
        """What is kept goes on meanwhile."""
        stage = Stage(FakeClock(NOW), plugged_in=True)
        async with running(stage):
            stage.upstream.problem = ConfigError("/ca", ["bad"])
            stage.upstream.change()
            await stage.turn()
            assert "bad" in str(stage.rig.rotation.progress.error)
            stage.upstream.problem = None
            stage.upstream.change()
            await stage.turn()
            assert stage.rig.rotation.progress.error is None


class TestSchedule:
    """`rotation.before_end`."""

    async def test_a_root_is_rotated_before_its_end(self) -> None:
        """By itself, so long before as is configured."""
        root = make_ca("root", begin=NOW, end=NOW + 31 * DAY)
        stage = Stage(FakeClock(NOW), good_material(root=root), config=RotationConfig(before_end=30 * DAY))
        async with running(stage):
            await stage.turn(12 * 3600)
            assert stage.rig.store.lifecycle.plan is None
            await stage.turn(13 * 3600)
            assert stage.states == [State.RETIRED, State.ACTIVE]

    async def test_a_root_that_lies_where_others_are_plugged_in_as_well(self) -> None:
        """As in a Secret that Istio has filled: the next one is made there."""
        root = make_ca("root", begin=NOW, end=NOW + 31 * DAY)
        config = RotationConfig(before_end=30 * DAY)
        stage = Stage(FakeClock(NOW), good_material(root=root), config=config, plugged_in=True)
        async with running(stage):
            await stage.turn(25 * 3600)
            plan = stage.rig.store.lifecycle.plan
            assert plan is not None
            assert (plan.reason, stage.states) == ("the root ends soon", [State.RETIRING, State.ACTIVE])

    @pytest.mark.parametrize("leading", [True, False])
    async def test_what_cannot_begin_is_looked_at_calmly(self, *, leading: bool) -> None:
        """Where no root is made, and by a replica that follows."""
        root = make_ca("root", begin=NOW, end=NOW + 31 * DAY)
        config = RotationConfig(before_end=30 * DAY)
        stage = Stage(FakeClock(NOW), good_material(root=root), config=config, leading=leading)
        stage.upstream.makes_roots = False
        async with running(stage):
            await stage.turn(25 * 3600)
            before = stage.upstream.history.count("lines")
            await stage.turn(3600)
            assert stage.upstream.history.count("lines") - before <= 2 * 60


class TestRequests:
    """`propose` and `take`: what waits for a second person."""

    async def test_taken_once(self, stage: Stage) -> None:
        """Whoever comes second is told."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        assert await stage.acts.take(asked.id) == asked
        with pytest.raises(NotFound) as refusal:
            await stage.acts.take(asked.id)
        assert refusal.value.reason == "request"

    async def test_not_after_its_time(self, stage: Stage) -> None:
        """It is gone."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        await stage.turn(60)
        with pytest.raises(NotFound):
            await stage.acts.take(asked.id)

    async def test_not_too_many(self, stage: Stage) -> None:
        """Nobody fills the store with them."""
        for number in range(MAX_REQUESTS):
            await stage.acts.propose(replace(waiting(at=NOW, until=NOW + DAY), id=str(number)))
        with pytest.raises(Refused) as refusal:
            await stage.acts.propose(replace(waiting(at=NOW, until=NOW + DAY), id="one more"))
        assert refusal.value.reason == "too_many_requests"

    async def test_of_two_that_have_one_id_one_waits(self, stage: Stage) -> None:
        """The other asks again."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        with pytest.raises(Conflict) as refusal:
            await stage.acts.propose(asked)
        assert refusal.value.reason == "request_id"


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


class TestReport:
    """`report`, `bundle`, `forecast`, `changes`."""

    async def test_how_it_stands(self, stage: Stage) -> None:
        """Roots, who trusts them, the next step, its gate, and who holds it up."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.everybody(trusts=1, signers=(0,), connected=False)
        report = await stage.acts.report()
        roots = [one for one in report.authorities if one.record.kind is Kind.ROOT]
        assert [(one.trusted_by, one.leaves) for one in roots] == [(1, 1), (0, 0)]
        assert report.fleet is not None
        assert (report.fleet.seen, report.fleet.none, report.sequence) == (1, 1, 2)
        assert report.gate is not None
        assert (report.gate.open, [one.workload.pod for one in report.gate.stragglers]) == (False, ["web-1"])
        assert "sign below" in report.next_step

    async def test_without_a_store_no_gate_is_open(self, stage: Stage) -> None:
        """The rest is still told."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.rig.census.error = Unavailable("store", "gone")
        report = await stage.acts.report()
        assert (report.fleet, report.gate is not None and report.gate.open) == (None, False)

    async def test_everything_that_is_kept(self, stage: Stage) -> None:
        """As it is stored."""
        assert await stage.acts.lifecycle() == stage.rig.store.lifecycle

    async def test_at_rest(self, stage: Stage) -> None:
        """No step, no gate."""
        report = await stage.acts.report()
        assert (report.plan, report.gate, report.next_step) == (None, None, "")

    async def test_a_bundle_of_the_past(self, stage: Stage) -> None:
        """By its sequence; the newest without one."""
        await stage.acts.prepare(ANNA)
        first, first_roots = await stage.acts.bundle(1)
        newest, newest_roots = await stage.acts.bundle()
        assert (first.sequence, len(first_roots), newest.sequence, len(newest_roots)) == (1, 1, 2, 2)
        with pytest.raises(NotFound):
            await stage.acts.bundle(9)

    @pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
    async def test_forecast(self, stage: Stage, *, compromised: bool) -> None:
        """Four steps, who holds them up, and nothing is done."""
        stage.everybody(trusts=1, signers=(0,), connected=False)
        found = await stage.acts.forecast(compromised=compromised, window=MINUTE)
        held = found.losers if compromised else found.steps[3].holders
        assert (len(found.steps), [one.workload.pod for one in held]) == (4, ["web-1"])
        assert stage.states == [State.ACTIVE]

    @pytest.mark.parametrize(
        ("act", "index", "says"),
        [
            (Act.ACTIVATE, 1, "sign below"),
            (Act.RETIRE, 1, "stop trusting"),
            (Act.TAINT, 1, "replace every certificate below"),
        ],
    )
    async def test_what_a_single_step_would_do(self, stage: Stage, act: Act, index: int, says: str) -> None:
        """Of a root of any state that allows it; nothing is done."""
        await stage.acts.prepare(ANNA)
        before = stage.rig.store.lifecycle
        found = await stage.acts.foresee(act, stage.roots[index].id, force=True)
        assert (found.steps[0].says.startswith(says), found.plan) == (True, before.plan)
        assert stage.rig.store.lifecycle == before

    async def test_what_tainting_within_a_window_would_do(self, stage: Stage) -> None:
        """Within the one that is asked for."""
        await stage.acts.prepare(ANNA)
        found = await stage.acts.foresee(Act.TAINT, stage.roots[1].id, window=9 * MINUTE)
        assert "within 9m" in found.steps[0].says

    async def test_changes(self, stage: Stage) -> None:
        """The newest first."""
        await stage.acts.prepare(ANNA)
        assert [one.act for one in await stage.acts.changes(2)] == [Act.PLAN, Act.DISTRIBUTE]
