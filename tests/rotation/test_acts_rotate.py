"""Whole rotations over fakes: each step kept before it is done, none past a closed gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from meshca.config.rotation import RotationConfig
from meshca.errors import Unavailable
from meshca.rotation.steps import GRACE
from tests.fakes.clock import FakeClock
from tests.fakes.pki import DAY, NOW, good_material, make_ca
from tests.fakes.roots import MINUTE, WEB
from tests.fakes.rotation_stage import ANNA, KEY, Stage, running


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
        dropped = [one for one in stage.rig.store.history if one.act is Act.RETIRE and one.kind is Kind.ROOT]
        assert [one.guard.endswith(f'{LEFT_BEHIND}{WEB} in "web-1"') for one in dropped] == [True]
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

    @pytest.mark.parametrize("signed", [False, True])
    async def test_a_new_root_with_the_stolen_key_goes_too(self, stage: Stage, *, signed: bool) -> None:
        """The thief could sign below either, so a root with a new key is made; all of it is foretold."""
        twin = make_ca("twin", key=KEY, begin=NOW)
        stage.upstream.offer(*stage.upstream.materials.values(), good_material(root=twin))
        await stage.acts.prepare(ANNA, same_key=True)
        if signed:
            await stage.acts.activate(ANNA, stage.roots[1].id)
            await stage.turn()
        stage.everybody(trusts=2, signers=(0, 1) if signed else (0,))
        foretold = await stage.acts.forecast(compromised=True, window=MINUTE)
        assert "make a new root" in foretold.steps[0].says
        assert all(one.id[:12] in foretold.steps[-1].says for one in stage.roots)
        new = await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        other = State.TAINTED if signed else State.RETIRED
        assert sorted(stage.states) == sorted([State.ACTIVE, other, State.DISTRIBUTING])
        stage.everybody(trusts=3, signers=(0,))
        await stage.turn(2)
        assert stage.rig.store.lifecycle.active_root is not None
        assert stage.rig.store.lifecycle.active_root.id == new.id
        order = stage.standings[-1].order
        assert {one.id for one in stage.roots if one.state is State.TAINTED} <= set(order.signers)
        await stage.turn(67)
        assert (stage.states, stage.rig.store.lifecycle.plan) == (
            [State.RETIRED, State.RETIRED, State.ACTIVE],
            None,
        )

    async def test_a_tainted_root_that_no_rotation_drops_any_more(self, stage: Stage) -> None:
        """Its replacement was given up: it goes once nothing below it is in use."""
        twin = make_ca("twin", key=KEY, begin=NOW)
        stage.upstream.offer(*stage.upstream.materials.values(), good_material(root=twin))
        await stage.acts.prepare(ANNA, same_key=True)
        await stage.acts.activate(ANNA, stage.roots[1].id)
        await stage.turn()
        stage.everybody(trusts=2, signers=(0,))
        await stage.acts.rotate(ANNA, compromised=True, window=MINUTE)
        await stage.acts.abort(replace(ANNA, compromised=True))
        await stage.turn(60)
        assert stage.states == [State.TAINTED, State.ACTIVE, State.RETIRED]
        assert f"retire of {stage.roots[0].id[:16]} waits" in stage.rig.rotation.progress.held
        stage.everybody(trusts=2, signers=(1,))
        await stage.turn(60)
        assert stage.states == [State.RETIRED, State.ACTIVE, State.RETIRED]

    async def test_who_makes_a_planned_one_urgent_is_kept_with_it(self, stage: Stage) -> None:
        """Beside who began it, for whoever looks at it later; who asks once more changes neither."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert stage.rig.store.lifecycle.plan is not None
        assert stage.rig.store.lifecycle.plan.urgent_by == ""
        await stage.acts.rotate(replace(ANNA, by="uid 7"), compromised=True, window=None)
        await stage.acts.rotate(replace(ANNA, by="uid 8"), compromised=True, window=DAY)
        plan = stage.rig.store.lifecycle.plan
        assert plan is not None
        assert (plan.by, plan.urgent_by) == (ANNA.by, "uid 7")
        await stage.acts.abort(replace(ANNA, compromised=True))
        assert stage.rig.store.lifecycle.plan is None

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
