"""One contract for whoever does what administrators ask of the roots, over a fleet that holds nothing up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca.authority.history import Kind, Request
from meshca.authority.lifecycle import Act, State
from meshca.errors import NotFound, Refused
from meshca.rotation.commands import Asked, RootCommands
from meshca.rotation.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.pki import good_material, make_ca
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import request as waiting
from tests.fakes.rotation_rig import rig
from tests.fakes.upstream import FakeUpstream

ME = Asked(by="uid 0", reason="yearly")
UNKNOWN = "ff" * 32


async def open_fake(clock: FakeClock) -> RootCommands:
    """The fake that other tests use."""
    return FakeRootCommands(clock)


async def open_real(clock: FakeClock) -> RootCommands:
    """The commands over a driver that has started, and does not run: only what is asked happens."""

    async def publish(_: Standing) -> None:
        """Nobody is there."""

    material = good_material(root=make_ca("root", begin=clock.now()))
    made = rig(FakeUpstream(material), clock, publish)
    await made.rotation.start()
    return made.acts


OPENERS: tuple[Callable[[FakeClock], Awaitable[RootCommands]], ...] = (open_fake, open_real)


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the test."""
    return FakeClock()


@pytest.fixture(params=OPENERS, ids=[opener.__name__ for opener in OPENERS])
async def commands(request: pytest.FixtureRequest, clock: FakeClock) -> RootCommands:
    """One root is active, and nobody holds anything up."""
    opener: Callable[[FakeClock], Awaitable[RootCommands]] = request.param
    return await opener(clock)


async def states(commands: RootCommands) -> list[State]:
    """Of the roots, oldest first."""
    return [one.state for one in (await commands.lifecycle()).of(Kind.ROOT)]


async def active(commands: RootCommands) -> str:
    """The root that signs."""
    found = (await commands.lifecycle()).active_root
    assert found is not None
    return found.id


async def test_a_prepared_root_is_distributed(commands: RootCommands) -> None:
    """It is in the bundle in force and signs nothing."""
    made = await commands.prepare(ME)
    bundle, records = await commands.bundle()
    assert await states(commands) == [State.ACTIVE, State.DISTRIBUTING]
    assert made.id in bundle.roots
    assert {one.id for one in records} == set(bundle.roots)


async def test_one_root_signs(commands: RootCommands) -> None:
    """Which was activated last."""
    made = await commands.prepare(ME)
    await commands.activate(ME, made.id)
    assert await active(commands) == made.id
    assert await states(commands) == [State.RETIRING, State.ACTIVE]


async def test_a_retired_root_is_not_in_the_bundle(commands: RootCommands) -> None:
    """Any more; the bundle before is remembered with its number."""
    old = await active(commands)
    made = await commands.prepare(ME)
    await commands.activate(ME, made.id)
    before, _ = await commands.bundle()
    await commands.retire(ME, old)
    now, _ = await commands.bundle()
    assert (now.roots, now.sequence > before.sequence) == ((made.id,), True)
    assert (await commands.bundle(before.sequence))[0] == before


async def test_every_act_is_recorded(commands: RootCommands) -> None:
    """With who and why, newest first, as many as asked for."""
    made = await commands.prepare(ME)
    await commands.activate(ME, made.id)
    known = [one for one in await commands.changes(100) if one.authority == made.id]
    (activated,) = [one for one in known if one.act is Act.ACTIVATE]
    assert (activated.authority, activated.by, activated.reason, activated.forced) == (
        made.id,
        "uid 0",
        "yearly",
        False,
    )
    assert len(await commands.changes(1)) == 1


async def test_an_act_that_the_table_does_not_know_is_refused(commands: RootCommands) -> None:
    """Force does not help; nothing is done."""
    root = await active(commands)
    with pytest.raises(Refused) as caught:
        await commands.retire(Asked(by="uid 0", reason="yearly", force=True), root)
    assert (caught.value.reason, await states(commands)) == ("transition", [State.ACTIVE])


@pytest.mark.parametrize("name", ["activate", "retire"])
async def test_an_unknown_root(commands: RootCommands, name: str) -> None:
    """Is not found."""
    with pytest.raises(NotFound):
        await getattr(commands, name)(ME, UNKNOWN)


async def test_an_unknown_bundle(commands: RootCommands) -> None:
    """Is not found."""
    with pytest.raises(NotFound):
        await commands.bundle(10**6)


async def test_a_rotation_under_way_is_gone_on_with(commands: RootCommands) -> None:
    """Asking again makes no second root."""
    first = await commands.rotate(ME, compromised=False, window=None)
    again = await commands.rotate(ME, compromised=False, window=None)
    assert first.id == again.id
    assert len(await states(commands)) == 2


async def test_a_rotation_is_held_and_given_up(commands: RootCommands) -> None:
    """Back to the state before, and the new root is retired."""
    await commands.rotate(ME, compromised=False, window=None)
    await commands.pause(ME)
    held = (await commands.lifecycle()).plan
    await commands.resume(ME)
    going = (await commands.lifecycle()).plan
    await commands.abort(ME)
    assert held is not None
    assert going is not None
    assert (held.paused, going.paused, (await commands.lifecycle()).plan) == (True, False, None)
    assert await states(commands) == [State.ACTIVE, State.RETIRED]


async def test_a_forecast_changes_nothing(commands: RootCommands) -> None:
    """It is a question."""
    before = await commands.lifecycle()
    await commands.forecast(compromised=True, window=timedelta(0))
    assert await commands.lifecycle() == before


async def test_what_a_step_would_do_changes_nothing(commands: RootCommands) -> None:
    """Neither; and what is not possible is refused as the step is."""
    made = await commands.prepare(ME)
    before = await commands.lifecycle()
    await commands.foresee(Act.RETIRE, made.id)
    with pytest.raises(Refused) as caught:
        await commands.foresee(Act.RETIRE, await active(commands), force=True)
    assert (caught.value.reason, await commands.lifecycle()) == ("transition", before)
    with pytest.raises(NotFound):
        await commands.foresee(Act.RETIRE, UNKNOWN)


@pytest.mark.parametrize("act", [Act.PAUSE, Act.RESUME, Act.ABORT])
async def test_what_would_be_done_to_a_rotation_changes_nothing(commands: RootCommands, act: Act) -> None:
    """And is refused as the act is: without a rotation, and where a stolen root stays trusted by it."""
    with pytest.raises(Refused) as caught:
        await commands.foresee_course(act, compromised=False)
    assert caught.value.reason == "no_rotation"
    await commands.rotate(ME, compromised=True, window=None)
    before = await commands.lifecycle()
    await commands.foresee_course(act, compromised=True)
    with pytest.raises(Refused) as caught:
        await commands.foresee_course(act, compromised=False)
    assert (caught.value.reason, await commands.lifecycle()) == ("compromised", before)


async def test_a_window_is_shortened(commands: RootCommands) -> None:
    """Asked for again, the rotation is as urgent as is asked for now, also if it was paused."""
    await commands.rotate(ME, compromised=True, window=timedelta(seconds=60))
    await commands.pause(replace(ME, compromised=True))
    await commands.rotate(ME, compromised=True, window=timedelta(0), root=await active(commands))
    plan = (await commands.lifecycle()).plan
    assert plan is not None
    assert (plan.window, plan.paused) == (timedelta(0), False)


@pytest.mark.parametrize("name", ["rotate", "forecast"])
async def test_a_root_that_does_not_sign_is_not_rotated_away_from(commands: RootCommands, name: str) -> None:
    """Refused to who does it and to who asks what it would do."""
    made = await commands.prepare(ME)
    who = (ME,) if name == "rotate" else ()
    with pytest.raises(Refused) as caught:
        await getattr(commands, name)(*who, compromised=True, window=None, root=made.id)
    assert caught.value.reason == "not_signing"


@pytest.mark.parametrize("name", ["pause", "resume", "abort"])
async def test_the_replacement_of_a_stolen_root_is_stopped_by_who_knows(commands: RootCommands, name: str) -> None:
    """That it stays trusted must be said."""
    await commands.rotate(ME, compromised=True, window=None)
    before = await commands.lifecycle()
    with pytest.raises(Refused) as caught:
        await getattr(commands, name)(ME)
    assert (caught.value.reason, await commands.lifecycle()) == ("compromised", before)
    await getattr(commands, name)(replace(ME, compromised=True))


async def test_the_successor_of_a_stolen_root_is_not_retired(commands: RootCommands) -> None:
    """That is to abort by another name."""
    made = await commands.rotate(ME, compromised=True, window=None)
    with pytest.raises(Refused) as caught:
        await commands.retire(ME, made.id)
    assert caught.value.reason == "compromised"


async def test_the_report_is_of_what_is_kept(commands: RootCommands) -> None:
    """The same generation, the same roots."""
    await commands.prepare(ME)
    lifecycle, report = await commands.lifecycle(), await commands.report()
    roots = [one.record for one in report.authorities if one.record.kind is Kind.ROOT]
    assert (report.generation, roots) == (lifecycle.generation, list(lifecycle.of(Kind.ROOT)))


class TestRequests:
    """What waits for a second person."""

    async def test_one_is_kept_and_taken_once(self, commands: RootCommands, clock: FakeClock) -> None:
        """Whole; of the second who takes it nothing is left."""
        kept = self.until(clock, 60)
        await commands.propose(kept)
        assert (await commands.lifecycle()).requests == (kept,)
        await commands.rotate(replace(ME, request=kept), compromised=False, window=None)
        assert (await commands.lifecycle()).requests == ()
        with pytest.raises(NotFound) as caught:
            await commands.rotate(replace(ME, request=kept), compromised=False, window=None)
        assert caught.value.reason == "request"

    async def test_what_is_refused_waits_on(self, commands: RootCommands, clock: FakeClock) -> None:
        """An approval is not used up by an act that is not done."""
        kept = self.until(clock, 60)
        await commands.propose(kept)
        with pytest.raises(Refused):
            await commands.retire(replace(ME, request=kept), await active(commands))
        assert (await commands.lifecycle()).requests == (kept,)

    @pytest.mark.parametrize("act", [Act.WITHDRAW, Act.DENY])
    async def test_one_is_ended_once(self, commands: RootCommands, clock: FakeClock, act: Act) -> None:
        """The history has who asked, who ended it, and why."""
        kept = self.until(clock, 60)
        await commands.propose(kept)
        assert await commands.end(kept.id, act, replace(ME, by="bert")) == kept
        assert (await commands.lifecycle()).requests == ()
        ended, asked = await commands.changes(2)
        assert [(one.act, one.by, one.reason) for one in (asked, ended)] == [
            (Act.ASK, kept.by, kept.reason),
            (act, "bert", ME.reason),
        ]
        with pytest.raises(NotFound) as caught:
            await commands.end(kept.id, act, ME)
        assert caught.value.reason == "request"

    async def test_its_time_ends(self, commands: RootCommands, clock: FakeClock) -> None:
        """To the second."""
        await commands.propose(self.until(clock, 60))
        clock.move(60)
        with pytest.raises(NotFound) as caught:
            await commands.end("0123abcd", Act.DENY, ME)
        assert caught.value.reason == "request"

    async def test_what_is_over_is_forgotten(self, commands: RootCommands, clock: FakeClock) -> None:
        """With the next one that is kept."""
        await commands.propose(self.until(clock, 60))
        clock.move(60)
        fresh = self.until(clock, 60, id_="4567cdef")
        await commands.propose(fresh)
        assert (await commands.lifecycle()).requests == (fresh,)

    async def test_they_are_bounded(self, commands: RootCommands, clock: FakeClock) -> None:
        """They are part of the state."""

        async def propose_many() -> None:
            for number in range(1000):
                await commands.propose(replace(self.until(clock, 60), id=f"{number:08x}", body=b"%d" % number))

        with pytest.raises(Refused) as caught:
            await propose_many()
        assert caught.value.reason == "too_many_requests"

    def until(self, clock: FakeClock, seconds: int, id_: str = "0123abcd") -> Request:
        """One that can be approved for so long."""
        return waiting(id=id_, at=clock.now(), until=clock.now() + timedelta(seconds=seconds))
