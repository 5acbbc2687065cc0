"""What administrators ask, one act at a time: each kept before it is done, with who and why, and told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.errors import BadRequest, Conflict, NotFound, Refused
from meshca.upstream.sound_root import root_of
from tests.fakes.logs import captured_logs
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.roots import MINUTE, WEB, workload
from tests.fakes.rotation_stage import ANNA, Stage

URGENT = replace(ANNA, force=True)


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

    @pytest.mark.parametrize("paused", [False, True])
    async def test_what_is_tainted_by_hand_is_dropped_by_itself(self, stage: Stage, *, paused: bool) -> None:
        """At its window's end, whoever still holds a leaf below it."""
        new = await stage.acts.prepare(ANNA)
        await stage.acts.activate(ANNA, new.id)
        stage.everybody(trusts=2, signers=(0,), connected=False)
        if paused:
            await stage.acts.pause(ANNA)
        await stage.acts.taint(ANNA, stage.roots[0].id, MINUTE)
        await stage.turn(60)
        assert stage.states == [State.TAINTED, State.ACTIVE]
        await stage.turn(7)
        assert stage.states == [State.RETIRED, State.ACTIVE]

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
        assert 'spiffe://cluster.local/ns/shop/sa/web in "web-1": ' in refusal.value.detail
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

    async def test_who_breaks_by_a_root_that_is_retired_by_force(self, stage: Stage) -> None:
        """Is kept with that, and told in the log as a warning; nobody could tell it later."""
        await stage.acts.prepare(ANNA)
        await stage.acts.activate(URGENT, stage.roots[1].id)
        stage.everybody(trusts=2, signers=(0,))
        with captured_logs() as logs:
            await stage.acts.retire(URGENT, stage.roots[0].id)
        left = f'{LEFT_BEHIND}{WEB} in "web-1"'
        dropped = [one for one in stage.rig.store.history if one.act is Act.RETIRE and one.kind is Kind.ROOT]
        assert [one.guard.endswith(left) for one in dropped] == [True]
        warned = [one["authority"] for one in logs if one["log_level"] == "warning"]
        assert warned == [stage.roots[0].id]

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
        instead = "rotate --compromised" if act == "taint" else "activate another in its place first"
        with pytest.raises(Refused, match=instead) as refusal:
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
        assert refusal.value.detail.count('shop/sa/web in "w') == 10

    async def test_roots_that_are_not_made_here(self, stage: Stage) -> None:
        """The upstream's refusal is told, and nothing was begun."""
        stage.upstream.makes_roots = False
        with pytest.raises(Refused) as refusal:
            await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert (refusal.value.reason, stage.rig.store.lifecycle.plan) == ("upstream", None)

    @pytest.mark.parametrize("compromised", [False, True])
    async def test_what_the_upstream_refuses_is_foretold(self, stage: Stage, *, compromised: bool) -> None:
        """In its words, so that nobody approves what cannot be done; nothing is made."""
        stage.upstream.makes_roots = False
        with pytest.raises(Refused, match="put one into the fake"):
            await stage.acts.forecast(compromised=compromised, window=None)
        assert "make_root" not in stage.upstream.history

    async def test_what_is_under_way_needs_no_further_root(self, stage: Stage) -> None:
        """What is left of it is foretold, whatever the upstream would refuse."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        stage.upstream.makes_roots = False
        assert (await stage.acts.forecast(compromised=False, window=None)).steps

    async def test_a_root_that_is_plugged_in_is_foretold(self, stage: Stage) -> None:
        """It need not be made, whether it is known already or not."""
        stage.upstream.makes_roots = False
        material = good_material(root=make_ca("next", begin=NOW))
        stage.upstream.materials[certificate_id(root_of(material))] = material
        unknown = await stage.acts.forecast(compromised=False, window=None)
        stage.upstream.change()
        await stage.turn(60)
        known = await stage.acts.forecast(compromised=False, window=None)
        assert (len(unknown.steps), len(known.steps), len(stage.roots)) == (4, 4, 2)

    async def test_a_bundle_that_gets_too_large(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused at prepare, with the number; the new root is nobody's."""
        monkeypatch.setattr("meshca.rotation.judge.LARGEST_BUNDLE", 1000)
        with pytest.raises(Refused, match="1000 are the most") as refusal:
            await stage.acts.prepare(ANNA)
        assert (refusal.value.reason, stage.states) == ("bundle_too_large", [State.ACTIVE])

    async def test_two_administrators(self, stage: Stage) -> None:
        """One wins, the other is told, and there is one rotation."""
        other = replace(stage.rig.store.lifecycle, generation=stage.rig.store.lifecycle.generation + 1, records=())
        stage.rig.store.overtaken_by(other)
        with pytest.raises(Conflict, match="changed the roots at the same time, so nothing was done; look at"):
            await stage.acts.rotate(ANNA, compromised=False, window=None)
        assert stage.rig.store.lifecycle.plan is None
