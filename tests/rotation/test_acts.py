"""What administrators ask, one act at a time: each kept before it is done, with who and why, and told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.gate import LEFT_BEHIND
from meshca.authority.history import Kind, Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.authority.requests import MAX_OF_ONE, add_request
from meshca.errors import BadRequest, Conflict, NotFound, Refused, Unavailable
from meshca.upstream.sound_root import root_of
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, good_material, make_ca
from tests.fakes.root_reports import request as waiting
from tests.fakes.roots import MINUTE, WEB, workload
from tests.fakes.rotation_stage import ANNA, Stage

URGENT = replace(ANNA, force=True)
THEFT = waiting(at=NOW, until=NOW + MINUTE, urgent=True)


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


class TestRequests:
    """What waits for a second person."""

    async def test_taken_once(self, stage: Stage) -> None:
        """Whoever comes second is told."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        await stage.acts.rotate(replace(ANNA, request=asked), compromised=False, window=None)
        with pytest.raises(NotFound) as refusal:
            await stage.acts.pause(replace(ANNA, request=asked))
        assert refusal.value.reason == "request"

    async def test_taken_also_by_what_changes_nothing_else(self, stage: Stage) -> None:
        """A rotation that goes on as it does is no reason to approve it again."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.acts.propose(asked)
        await stage.acts.rotate(replace(ANNA, request=asked), compromised=False, window=None)
        assert stage.rig.store.lifecycle.requests == ()
        [last] = await stage.acts.changes(1)
        assert (last.act, last.by, last.reason) == (Act.LAPSE, ANNA.by, "approved, and nothing was left to do")

    @pytest.mark.parametrize("act", [Act.WITHDRAW, Act.DENY])
    async def test_ended_once(self, stage: Stage, act: Act) -> None:
        """With who would have it so, and why."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        assert await stage.acts.end(asked.id, act, ANNA) == asked
        [last] = await stage.acts.changes(1)
        assert (last.act, last.by, last.reason) == (act, ANNA.by, ANNA.reason)
        with pytest.raises(NotFound):
            await stage.acts.end(asked.id, act, ANNA)

    async def test_only_what_was_approved_is_done(self, stage: Stage) -> None:
        """Another one of the same id was not looked at."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        other = replace(ANNA, request=replace(asked, body=b"other"))
        with pytest.raises(NotFound, match="is not what was approved"):
            await stage.acts.rotate(other, compromised=False, window=None)
        assert stage.rig.store.lifecycle.requests == (asked,)

    async def test_what_is_refused_by_the_upstream_waits_on(self, stage: Stage) -> None:
        """Once a root is plugged in the approval is good for it."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        stage.upstream.makes_roots = False
        with pytest.raises(Refused):
            await stage.acts.rotate(replace(ANNA, request=asked), compromised=False, window=None)
        assert stage.rig.store.lifecycle.requests == (asked,)

    async def test_of_two_that_take_it_at_once_one_is_told(self, stage: Stage) -> None:
        """It was taken while the other was judged."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        before = stage.rig.store.lifecycle
        stage.rig.store.overtaken_by(replace(before, generation=before.generation + 1, requests=()))
        with pytest.raises(Conflict):
            await stage.acts.rotate(replace(ANNA, request=asked), compromised=False, window=None)
        assert stage.rig.store.lifecycle.plan is None

    async def test_not_after_its_time(self, stage: Stage) -> None:
        """It is gone."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        await stage.turn(60)
        with pytest.raises(NotFound):
            await stage.acts.rotate(replace(ANNA, request=asked), compromised=False, window=None)

    async def test_what_nobody_approved_in_time_is_forgotten(self, stage: Stage) -> None:
        """By itself, also while nothing else happens."""
        await stage.acts.propose(waiting(at=NOW, until=NOW + MINUTE))
        await stage.turn(59)
        waits = len(stage.rig.store.lifecycle.requests)
        await stage.turn(62)
        assert (waits, len(stage.rig.store.lifecycle.requests)) == (1, 0)
        assert stage.rig.store.history[-1].act is Act.LAPSE

    async def test_not_too_many(self, stage: Stage) -> None:
        """Nobody fills the store with them."""
        for number in range(MAX_OF_ONE):
            await stage.acts.propose(waiting(at=NOW, until=NOW + DAY, id=str(number), body=b"%d" % number))
        with pytest.raises(Refused) as refusal:
            await stage.acts.propose(waiting(at=NOW, until=NOW + DAY, id="one more"))
        assert refusal.value.reason == "too_many_requests"

    async def test_of_two_that_have_one_id_one_waits(self, stage: Stage) -> None:
        """The other asks again."""
        asked = waiting(at=NOW, until=NOW + MINUTE)
        await stage.acts.propose(asked)
        with pytest.raises(Conflict) as refusal:
            await stage.acts.propose(asked)
        assert refusal.value.reason == "request_id"


class TestTheft:
    """While an act that is because of a theft waits for a second person."""

    async def begun(self, stage: Stage) -> Record:
        """A planned rotation is under way, and an officer asks because of a theft."""
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.acts.propose(THEFT)
        return new

    @pytest.mark.parametrize("act", ["pause", "abort"])
    async def test_nobody_stops_a_rotation_without_saying_so(self, stage: Stage, act: str) -> None:
        """An operator alone would otherwise keep a stolen root trusted, by giving up the only one that follows."""
        await self.begun(stage)
        with pytest.raises(Refused, match="because a key is stolen; have it approved or denied first") as refusal:
            await getattr(stage.acts, act)(ANNA)
        assert refusal.value.reason == "compromised"
        await getattr(stage.acts, act)(replace(ANNA, compromised=True))
        plan = stage.rig.store.lifecycle.plan
        assert plan is None or plan.paused

    async def test_nobody_retires_what_shall_follow(self, stage: Stage) -> None:
        """That is to abort by another name; a dry run says the same."""
        new = await self.begun(stage)
        with pytest.raises(Refused, match="or denied first"):
            await stage.acts.retire(replace(ANNA, force=True), new.id)
        with pytest.raises(Refused, match="or denied first"):
            await stage.acts.foresee(Act.RETIRE, new.id, force=True)

    async def test_another_root_is_retired_as_ever(self, stage: Stage) -> None:
        """One that signs no more, and one that is no part of the rotation under way."""
        new = await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.acts.activate(replace(ANNA, force=True), new.id)
        await stage.acts.propose(THEFT)
        old = stage.roots[0]
        await stage.acts.retire(replace(ANNA, force=True), old.id)
        assert stage.states[0] is State.RETIRED

    @pytest.mark.parametrize("act", ["pause", "abort"])
    async def test_one_that_is_asked_for_meanwhile_counts(self, stage: Stage, act: str) -> None:
        """It was kept while the act was judged."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        before = stage.rig.store.lifecycle
        stage.rig.store.overtaken_by(*add_request(before, THEFT))
        with pytest.raises(Refused, match="because a key is stolen"):
            await getattr(stage.acts, act)(ANNA)
        plan = stage.rig.store.lifecycle.plan
        assert plan is not None
        assert not plan.paused

    async def test_one_that_is_over_stops_nobody(self, stage: Stage) -> None:
        """Also before it is forgotten."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        over = replace(THEFT, until=NOW)
        stage.rig.store.lifecycle = replace(stage.rig.store.lifecycle, requests=(over,))
        await stage.acts.abort(ANNA)
        assert stage.rig.store.lifecycle.plan is None

    @pytest.mark.parametrize("act", [Act.PAUSE, Act.ABORT])
    async def test_that_is_foretold(self, stage: Stage, act: Act) -> None:
        """As it would be refused."""
        await self.begun(stage)
        with pytest.raises(Refused, match="because a key is stolen"):
            await stage.acts.foresee_course(act, compromised=False)

    async def test_a_root_that_was_plugged_in_is_not_given_up(self, stage: Stage) -> None:
        """Also when no rotation to it is under way; then no flag helps, and none is named."""
        material = good_material(root=make_ca("next", begin=NOW))
        stage.upstream.materials[certificate_id(root_of(material))] = material
        stage.upstream.change()
        await stage.turn(60)
        await stage.acts.propose(replace(THEFT, until=stage.clock.now() + MINUTE))
        with pytest.raises(Refused, match=r"have it approved or denied first$"):
            await stage.acts.retire(ANNA, stage.roots[-1].id)

    async def test_what_goes_on_goes_on(self, stage: Stage) -> None:
        """A rotation that is paused may be resumed by whoever may."""
        await stage.acts.rotate(ANNA, compromised=False, window=None)
        await stage.acts.pause(ANNA)
        await stage.acts.propose(THEFT)
        await stage.acts.resume(ANNA)
        plan = stage.rig.store.lifecycle.plan
        assert plan is not None
        assert not plan.paused


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
