"""What the stepper takes up, and what begins by itself or because it is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from meshca.authority.history import EMPTY
from meshca.authority.lifecycle import State
from meshca.authority.upstream import Line
from meshca.config.rotation import RotationConfig
from meshca.errors import ConfigError, Conflict, MeshcaError, Refused, Unavailable
from tests.fakes.logs import captured_logs
from tests.fakes.pki import DAY, NOW, Ca, ec_key, good_material, make_ca
from tests.fakes.roots import MINUTE, workload
from tests.fakes.stepper_scene import OTHER, OTHER_ID, OTHER_SIGNS, ROOT_ID, SIGNS, Scene


class TestAdopt:
    """`adopt`: roots that are not known yet."""

    async def test_the_first_root_of_all_is_active(self) -> None:
        """Whoever has it."""
        scene = Scene()
        kept = await scene.adopt()
        assert (scene.states, kept) == ([State.ACTIVE], scene.store.lifecycle)
        assert {one.by for one in scene.store.history} == {"meshca"}

    async def test_nothing_new_is_no_commit(self, scene: Scene) -> None:
        """The state is the same one."""
        before = scene.store.commits
        assert await scene.adopt() == scene.store.lifecycle
        assert scene.store.commits == before

    async def test_a_new_one_is_prepared_and_no_more(self, scene: Scene) -> None:
        """Also one below which nothing can be signed."""
        scene.upstream.named = [OTHER]
        await scene.adopt()
        assert scene.states == [State.ACTIVE, State.PREPARED]

    @pytest.mark.parametrize(
        ("wanted", "kept", "expected"),
        [(False, False, [State.ACTIVE]), (False, True, [State.ACTIVE, State.PREPARED])],
        ids=["never-used", "has-signed"],
    )
    async def test_one_that_nobody_names(
        self, scene: Scene, *, wanted: bool, kept: bool, expected: list[State]
    ) -> None:
        """Is taken up only if leaves below it may be in use."""
        line = Line(root=OTHER.certificate, signs=False, wanted=wanted, kept=kept)
        await scene.stepper.adopt(scene.store.lifecycle, [line])
        assert scene.states == expected

    async def test_the_first_that_does_not_prove_itself_stops_the_start(self) -> None:
        """Nothing else could sign."""
        scene = Scene()
        scene.upstream.offer(replace(SIGNS, key=ec_key()))
        with pytest.raises(ConfigError):
            await scene.adopt()
        assert scene.store.lifecycle == EMPTY

    async def test_a_later_one_that_does_not_prove_itself_stays_unknown(self, scene: Scene) -> None:
        """It is told, and what signs goes on."""
        scene.upstream.offer(SIGNS, replace(OTHER_SIGNS, key=ec_key()))
        with captured_logs() as logs:
            await scene.adopt()
        assert (scene.states, [line["event"] for line in logs]) == ([State.ACTIVE], ["root.refused"])

    async def test_a_good_one_is_taken_up_beside_a_bad_one(self, scene: Scene) -> None:
        """One does not hold up the other."""
        third = good_material(root=make_ca("third"))
        scene.upstream.offer(SIGNS, replace(OTHER_SIGNS, key=ec_key()), third)
        with captured_logs():
            await scene.adopt()
        assert scene.states == [State.ACTIVE, State.PREPARED]

    @pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
    async def test_one_that_has_ended_and_is_only_named_is_refused(self, *, first: bool) -> None:
        """It is told with when it ended, and not trusted; what signs goes on, and a server that begins begins."""
        scene = Scene()
        if not first:
            await scene.adopt()
        scene.upstream.named = [make_ca("over", begin=NOW - 9 * DAY, end=NOW - DAY)]
        with captured_logs() as logs:
            await scene.adopt()
        assert (scene.states, [line["event"] for line in logs if line["event"] == "root.refused"]) == (
            [State.ACTIVE],
            ["root.refused"],
        )
        problem = scene.stepper.problem
        assert isinstance(problem, ConfigError)
        assert problem.problems[0].endswith(
            "ended at 2025-12-31T00:00:00+00:00, so nobody needs to trust it; take it out"
        )

    async def test_one_that_is_trusted_may_end(self, scene: Scene) -> None:
        """It is known, and no fault of what is read now."""
        scene.upstream.named = [make_ca("ends", end=NOW + DAY)]
        await scene.adopt()
        scene.clock.move((2 * DAY).total_seconds())
        await scene.adopt()
        assert (scene.states, scene.stepper.problem) == ([State.ACTIVE, State.PREPARED], None)

    @pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
    async def test_material_that_is_not_to_be_had_is_waited_for(self, scene: Scene, *, first: bool) -> None:
        """Nothing is taken up unproven."""
        scene.upstream.offer(SIGNS, OTHER_SIGNS)
        scene.upstream.errors["obtain"] = Unavailable("test", "down")
        before = EMPTY if first else scene.store.lifecycle
        with pytest.raises(Unavailable):
            await scene.stepper.adopt(before, await scene.upstream.lines())
        assert scene.states == [State.ACTIVE]

    @pytest.mark.parametrize(
        "ca",
        [
            pytest.param(make_ca("ended", begin=NOW - 9 * DAY, end=NOW - DAY), id="ended"),
            pytest.param(make_ca("ahead", begin=NOW + DAY), id="not-begun"),
            pytest.param(make_ca("no CA", constraints=None), id="not-a-ca"),
        ],
    )
    async def test_a_bad_root_is_refused_before_anything_changes(self, scene: Scene, ca: Ca) -> None:
        """It stays unknown; a subject that is in use is found by the upstream itself."""
        scene.upstream.offer(SIGNS, good_material(root=ca))
        with captured_logs() as logs:
            await scene.adopt()
        assert (scene.states, [line["event"] for line in logs]) == ([State.ACTIVE], ["root.refused"])


class TestBegin:
    """`begin`: a rotation that is asked for."""

    async def test_without_an_active_root_it_is_refused(self) -> None:
        """There is nothing to rotate from."""
        scene = Scene()
        with pytest.raises(Refused) as refusal:
            await scene.begin()
        assert (refusal.value.reason, scene.upstream.history) == ("no_root", [])

    async def test_all_in_one_commit(self, scene: Scene) -> None:
        """The new root is known, trusted and planned for, or nothing is."""
        before = scene.store.commits
        kept = await scene.begin(compromised=True, window=MINUTE)
        assert (scene.store.commits - before, scene.states) == (1, [State.ACTIVE, State.DISTRIBUTING])
        plan = kept.plan
        assert plan is not None
        assert (plan.old, plan.compromised, plan.automatic, plan.window) == (ROOT_ID, True, True, MINUTE)
        assert (plan.by, plan.reason, plan.started_at) == ("anna", "the audit", NOW)

    async def test_the_window_is_the_configured_one(self) -> None:
        """Unless it is asked for another."""
        scene = Scene(config=RotationConfig(window=9 * MINUTE))
        await scene.adopt()
        kept = await scene.begin()
        assert scene.stepper.window(kept) == 9 * MINUTE == scene.stepper.window(EMPTY)

    async def test_a_root_that_is_prepared_already_is_used(self, scene: Scene) -> None:
        """No other is made."""
        scene.upstream.offer(SIGNS, OTHER_SIGNS)
        await scene.adopt()
        kept = await scene.begin()
        assert kept.plan is not None
        assert (kept.plan.new, "make_root" in scene.upstream.history) == (OTHER_ID, False)

    async def test_one_that_signs_nothing_is_not_used(self, scene: Scene) -> None:
        """It is trusted only."""
        scene.upstream.named = [OTHER]
        await scene.adopt()
        kept = await scene.begin()
        assert kept.plan is not None
        assert kept.plan.new != OTHER_ID

    @pytest.mark.parametrize("same_key", [True, False])
    async def test_a_key_is_used_again_only_when_asked_for(self, scene: Scene, *, same_key: bool) -> None:
        """The upstream is told whose."""
        asked: list[str] = []
        make = scene.upstream.make_root

        async def spied(*, same_key: str = "") -> Line:
            asked.append(same_key)
            return await make(same_key=same_key)

        scene.upstream.make_root = spied  # type: ignore[method-assign] # to hear what is asked
        await scene.begin(reuse=same_key)
        assert asked == [ROOT_ID if same_key else ""]

    @pytest.mark.parametrize(
        "error",
        [
            Refused("upstream", "not here"),
            ConfigError("test", ["weak"]),
            Unavailable("test", "down"),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_root_that_cannot_be_made(self, scene: Scene, error: MeshcaError) -> None:
        """The upstream's word is told, and nothing has begun."""
        scene.upstream.errors["make_root"] = error
        before = scene.store.lifecycle
        with pytest.raises(type(error)) as found:
            await scene.begin()
        assert (found.value, scene.store.lifecycle) == (error, before)

    async def test_a_bundle_that_gets_too_large(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused with the number, and what to do."""
        monkeypatch.setattr("meshca.rotation.judge.LARGEST_BUNDLE", 1000)
        before = scene.store.lifecycle
        with pytest.raises(Refused, match="1000 are the most; retire roots that nobody needs first") as refusal:
            await scene.begin()
        assert (refusal.value.reason, scene.store.lifecycle) == ("bundle_too_large", before)

    async def test_whoever_was_overtaken_is_told(self, scene: Scene) -> None:
        """Nothing of it is kept."""
        generation = scene.store.lifecycle.generation + 1
        scene.store.overtaken_by(replace(scene.store.lifecycle, generation=generation, bundles=()))
        with pytest.raises(Conflict):
            await scene.begin()
        assert (scene.states, scene.store.lifecycle.plan) == ([State.ACTIVE], None)


class TestByItself:
    """What begins without anybody asking."""

    @pytest.mark.parametrize(
        ("config", "expected"),
        [(RotationConfig(before_end=30 * DAY), NOW + 70 * DAY), (RotationConfig(), None)],
        ids=["scheduled", "never"],
    )
    @pytest.mark.parametrize("plugged_in", [False, True], ids=["ours", "in-a-secret"])
    async def test_when_a_rotation_begins(
        self, config: RotationConfig, expected: datetime | None, *, plugged_in: bool
    ) -> None:
        """So long before the root's end, wherever that is kept."""
        scene = Scene(config=config, plugged_in=plugged_in)
        assert scene.stepper.begins_at(EMPTY) is None
        assert scene.stepper.begins_at(await scene.adopt()) == expected

    async def test_not_while_one_is_under_way(self) -> None:
        """It would be another one."""
        scene = Scene(config=RotationConfig(before_end=30 * DAY))
        await scene.adopt()
        assert scene.stepper.begins_at(await scene.begin()) is None

    @pytest.mark.parametrize(("days", "begun"), [(69, False), (70, True)])
    async def test_it_begins_then(self, days: int, *, begun: bool) -> None:
        """Not a day before; the history says why."""
        scene = Scene(config=RotationConfig(before_end=30 * DAY))
        await scene.adopt()
        scene.census.fleet = (workload(trusts=frozenset({ROOT_ID})),)
        scene.clock.move((days * DAY).total_seconds())
        await scene.step()
        assert (len(scene.states) == 2) is begun
        assert (scene.store.history[-1].reason == "the root ends soon") is begun

    async def test_one_that_cannot_begin_is_told_and_holds_nothing_else_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What signs is renewed meanwhile."""
        monkeypatch.setattr("meshca.rotation.judge.LARGEST_BUNDLE", 1000)
        scene = Scene(config=RotationConfig(before_end=100 * DAY))
        await scene.adopt()
        assert (await scene.step()).startswith("a rotation is due and cannot begin: the bundle has")
        assert scene.store.lifecycle.plan is None

    async def test_another_signer_beside_both_roots_is_plugged_in(self, theirs: Scene) -> None:
        """That begins it as well: whoever names the old root still only keeps it from being dropped."""
        theirs.upstream.offer(SIGNS, OTHER_SIGNS)
        theirs.upstream.current.add(OTHER_ID)
        await theirs.adopt()
        await theirs.step()
        await theirs.step()
        plan = theirs.store.lifecycle.plan
        assert plan is not None
        assert (plan.old, plan.new) == (ROOT_ID, OTHER_ID)

    async def test_a_root_that_is_named_beside_the_old_signer_is_trusted_and_no_more(self, theirs: Scene) -> None:
        """Nothing begins, and it is refused to whoever asks for a rotation."""
        theirs.upstream.named = [OTHER]
        theirs.upstream.errors["make_root"] = Refused("upstream", "roots are plugged in")
        await theirs.adopt()
        await theirs.step()
        assert await theirs.step() == ""
        assert (theirs.states, theirs.store.lifecycle.plan) == ([State.ACTIVE, State.DISTRIBUTING], None)
        with pytest.raises(Refused) as refusal:
            await theirs.begin()
        assert (refusal.value.reason, theirs.store.lifecycle.plan) == ("upstream", None)

    async def test_another_signer_is_plugged_in(self, theirs: Scene) -> None:
        """A plan begins once it is trusted; it is never a jump."""
        theirs.upstream.offer(SIGNS, OTHER_SIGNS)
        theirs.upstream.unwanted.add(ROOT_ID)
        await theirs.adopt()
        theirs.census.fleet = (workload(trusts=frozenset({ROOT_ID})),)
        await theirs.step()
        assert (theirs.states, theirs.store.lifecycle.plan) == ([State.ACTIVE, State.DISTRIBUTING], None)
        held = await theirs.step()
        plan = theirs.store.lifecycle.plan
        assert plan is not None
        assert (plan.new, plan.reason) == (OTHER_ID, "another signer was plugged in")
        assert held.startswith("activate of ")
