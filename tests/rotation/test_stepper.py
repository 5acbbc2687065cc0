"""The steps one by one: what is due and safe, which keys go, and what is told once it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshca import metrics
from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from meshca.authority.upstream import Line
from meshca.errors import ConfigError, Unavailable
from meshca.rotation.steps import Due
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, good_material, make_ca
from tests.fakes.roots import MINUTE, workload
from tests.fakes.stepper_scene import ANNA, OTHER, OTHER_ID, OTHER_SIGNS, ROOT_ID, SIGNS, Scene


class TestStep:
    """`step`: what is due and safe."""

    async def test_nothing_is_due(self, scene: Scene) -> None:
        """Nothing is kept, nothing is held, nobody is counted."""
        before = scene.store.lifecycle
        assert (await scene.step(), scene.store.lifecycle, scene.census.asked) == ("", before, [])

    async def test_a_closed_gate_holds(self, scene: Scene) -> None:
        """With the act, the root and what the gate says."""
        kept = await scene.begin()
        scene.census.fleet = (workload(trusts=frozenset()),)
        assert kept.plan is not None
        assert await scene.step() == (
            f"activate of {kept.plan.new[:16]} waits: 0 of 1 workloads trust {kept.plan.new[:12]}, given out since"
            " 2026-01-01T00:00:00+00:00; of 1 that acknowledge, 1 do not: 0.0 % trust it, 100 % are asked for"
        )
        assert scene.states == [State.ACTIVE, State.DISTRIBUTING]

    @pytest.mark.parametrize(
        ("seconds", "states"),
        [(29, [State.ACTIVE, State.DISTRIBUTING]), (30, [State.RETIRING, State.ACTIVE])],
        ids=["before", "at"],
    )
    async def test_a_deadline_goes_past_a_closed_gate(
        self, scene: Scene, seconds: int, states: list[State]
    ) -> None:
        """Only of a compromised root, and it is kept as forced with what the gate said."""
        await scene.begin(compromised=True, window=MINUTE)
        scene.census.fleet = (workload(trusts=frozenset(), signers=frozenset({ROOT_ID})),)
        scene.clock.move(seconds)
        await scene.step()
        forced = [one.act for one in scene.store.history if one.forced and "do not" in one.guard]
        assert (scene.states, Act.ACTIVATE in forced) == (states, seconds == 30)

    async def test_who_ended_is_retired(self, scene: Scene) -> None:
        """An intermediate, by the clock."""
        assert scene.store.lifecycle.of(Kind.INTERMEDIATE) == ()
        text = SIGNS.certificate.public_bytes(Encoding.PEM).decode()
        kept = scene.store.lifecycle
        signer = replace(kept.records[0], id="s", kind=Kind.INTERMEDIATE, pem=text, parent=ROOT_ID)
        scene.store.lifecycle = replace(kept, records=(*kept.records, signer))
        scene.clock.move((40 * DAY).total_seconds())
        await scene.step()
        assert [one.state for one in scene.store.lifecycle.of(Kind.INTERMEDIATE)] == [State.RETIRED]

    async def test_one_act_in_one_turn(self, theirs: Scene) -> None:
        """The next is judged once this one is in force."""
        theirs.upstream.named = [make_ca(f"root {number}") for number in range(2)]
        await theirs.adopt()
        await theirs.step()
        assert theirs.states.count(State.PREPARED) == 1
        await theirs.step()
        assert theirs.states.count(State.PREPARED) == 0

    async def test_a_root_that_is_taken_away_before_anybody_trusts_it(self, theirs: Scene) -> None:
        """It is given up."""
        theirs.upstream.named = [OTHER]
        await theirs.adopt()
        theirs.upstream.named = []
        await theirs.step()
        assert theirs.states == [State.ACTIVE, State.RETIRED]

    async def late(self, theirs: Scene) -> Scene:
        """A second replica over the same store; the first was given another root, which it takes up."""
        late = Scene(plugged_in=True)
        await late.adopt()
        theirs.upstream.named = [OTHER]
        late.store.lifecycle = await theirs.adopt()
        return late

    async def test_a_root_that_another_replica_was_given(self, theirs: Scene) -> None:
        """It is left while another lives, which is named."""
        late = await self.late(theirs)
        late.living = ("one", "two", "one")
        assert await late.step() == (
            f"abort of {OTHER_ID[:16]} waits: {OTHER_ID[:12]} is not in the CA of this replica, and two may have"
            f" it; give it to all, or say `meshca root retire {OTHER_ID[:12]}`"
        )
        assert late.states == [State.ACTIVE, State.PREPARED]

    async def test_a_root_that_a_replica_that_is_gone_was_given(self, theirs: Scene) -> None:
        """Nobody has it any more."""
        late = await self.late(theirs)
        late.living = ("one", "one")
        await late.step()
        assert late.states == [State.ACTIVE, State.RETIRED]

    async def test_a_root_that_was_given_here_too_and_is_taken_away(self, theirs: Scene) -> None:
        """The operator does not want it, whoever lives."""
        late = await self.late(theirs)
        late.living = ("one", "two")
        late.upstream.named = [OTHER]
        await late.adopt()
        late.upstream.named = []
        await late.step()
        assert late.states == [State.ACTIVE, State.RETIRED]

    @pytest.mark.parametrize("down", ["census", "store"])
    async def test_what_cannot_be_counted_or_kept_is_not_done(self, scene: Scene, down: str) -> None:
        """It raises, and all is as before."""
        await scene.begin()
        before, lines = scene.store.lifecycle, await scene.upstream.lines()
        scene.census.error = Unavailable("store", "gone") if down == "census" else None
        scene.store.down = down == "store"
        with pytest.raises(Unavailable):
            await scene.stepper.step(before, lines)
        assert scene.store.lifecycle == before

    async def test_an_act_by_hand(self, scene: Scene) -> None:
        """`take` asks no gate: who asks has."""
        kept = await scene.begin()
        after = await scene.stepper.take(kept, Due(act=Act.ACTIVATE, record=kept.records[-1]), ANNA)
        assert (scene.states, scene.store.lifecycle) == ([State.RETIRING, State.ACTIVE], after)


class TestForget:
    """`forget`: keys that nobody needs any more."""

    async def scene_with(self, state: State) -> Scene:
        """Two roots, the other one in this state."""
        scene = Scene()
        scene.upstream.offer(SIGNS, OTHER_SIGNS)
        kept = await scene.adopt()
        changed: Sequence[object] = [
            one if one.id == ROOT_ID else replace(one, state=state) for one in kept.records
        ]
        scene.store.lifecycle = replace(kept, records=tuple(changed))  # type: ignore[arg-type]
        return scene

    @pytest.mark.parametrize("state", [one for one in State if one is not State.RETIRED], ids=str)
    async def test_what_is_not_retired_is_left(self, state: State) -> None:
        """Its key may be needed."""
        scene = await self.scene_with(state)
        await scene.stepper.forget(scene.store.lifecycle, await scene.upstream.lines())
        assert "forget" not in scene.upstream.history

    async def test_what_is_retired_is_deleted(self) -> None:
        """Once: then the upstream has it no more."""
        scene = await self.scene_with(State.RETIRED)
        for _ in range(2):
            await scene.stepper.forget(scene.store.lifecycle, await scene.upstream.lines())
        assert (list(scene.upstream.materials), scene.upstream.history.count("forget")) == ([ROOT_ID], 1)

    async def test_what_was_made_meanwhile_is_left(self) -> None:
        """The upstream is asked again before anything is deleted: what signs now must never be."""
        scene = await self.scene_with(State.RETIRED)
        lines = await scene.upstream.lines()
        third = good_material(root=make_ca("third"))
        scene.upstream.offer(OTHER_SIGNS, third)
        await scene.stepper.forget(scene.store.lifecycle, lines)
        assert list(scene.upstream.materials.values()) == [third]

    async def test_a_problem_of_before_is_not_lost(self) -> None:
        """The second look clears what obtaining material has found in the same turn."""
        scene = await self.scene_with(State.RETIRED)
        lines = await scene.upstream.lines()
        looked, scene.upstream.problem = scene.upstream.lines, ConfigError("fake", ["bad"])
        told = scene.upstream.problem

        async def clears() -> Sequence[Line]:
            scene.upstream.problem = None
            return await looked()

        scene.upstream.lines = clears  # type: ignore[method-assign]
        await scene.stepper.forget(scene.store.lifecycle, lines)
        assert scene.stepper.problem is told

    async def test_what_is_not_known_yet_is_left(self) -> None:
        """Another replica may have made it just now."""
        scene = await self.scene_with(State.RETIRED)
        third = good_material(root=make_ca("third"))
        scene.upstream.offer(SIGNS, OTHER_SIGNS, third)
        await scene.stepper.forget(scene.store.lifecycle, await scene.upstream.lines())
        assert len(scene.upstream.materials) == 2

    async def test_what_cannot_be_deleted_now(self) -> None:
        """Is told, and tried again."""
        scene = await self.scene_with(State.RETIRED)
        scene.upstream.errors["forget"] = Unavailable("test", "down")
        with pytest.raises(Unavailable):
            await scene.stepper.forget(scene.store.lifecycle, await scene.upstream.lines())


class TestCommit:
    """`commit`: logged and counted once it is kept, not before."""

    async def test_kept(self, scene: Scene) -> None:
        """One line and one count for each change."""
        counter = metrics.transitions.labels(Kind.ROOT, State.DISTRIBUTING)
        before = counter._value.get()
        with captured_logs() as logs:
            await scene.begin()
        assert counter._value.get() == before + 1  # a plan is no step
        assert [(line["act"], line["by"]) for line in logs] == [
            ("made", "anna"),
            ("distribute", "anna"),
            ("plan", "anna"),
        ]

    async def test_not_kept(self, scene: Scene) -> None:
        """Nothing is said of what did not happen."""
        await scene.upstream.lines()
        scene.store.down = True
        with captured_logs() as logs, pytest.raises(Unavailable):
            await scene.begin()
        assert logs == []
