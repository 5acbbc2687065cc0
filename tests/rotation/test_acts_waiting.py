"""Acts that wait for a second person: taken once and in time; nobody undercuts one that is because of a theft."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.authority.history import Record
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id
from meshca.authority.requests import MAX_OF_ONE, add_request
from meshca.errors import Conflict, NotFound, Refused
from meshca.upstream.sound_root import root_of
from tests.fakes.pki import DAY, NOW, good_material, make_ca
from tests.fakes.root_reports import request as waiting
from tests.fakes.roots import MINUTE
from tests.fakes.rotation_stage import ANNA, Stage

THEFT = waiting(at=NOW, until=NOW + MINUTE, urgent=True)


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
