"""A whole rotation with one fault at each place: it ends where it should, and no step is taken twice or early.

The faults: a wall clock that is set forward or back, a store that loses everything, another who is first, an
upstream and a store that are gone. Each is put before every turn of the rotation, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca import metrics
from meshca.authority.history import EMPTY, Kind, Record
from meshca.authority.lifecycle import Act, State
from meshca.errors import Conflict, MeshcaError, Unavailable
from meshca.rotation.commands import Asked
from meshca.rotation.standing import Standing
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.roots import HOUR, MINUTE, workload
from tests.fakes.rotation_rig import Rig, rig
from tests.fakes.upstream import FakeUpstream

ANNA = Asked(by="uid 0", reason="the audit asks for it")
DOWN = Unavailable("test", "down")
GONE = Unavailable("store", "gone")
CALLS = ("lines", "obtain", "make_root", "forget")
JUMPS = [pytest.param(HOUR, id="forward"), pytest.param(-HOUR, id="back")]
PLACES = range(4)  # turns of a rotation: it is asked for, distributed, signs, is over


class Mesh:
    """A driver, and one workload that follows what is in force a turn later, as a real one does."""

    def __init__(self, *, compromised: bool = False, follows: bool = True) -> None:
        self.clock = FakeClock(NOW)
        self.upstream = FakeUpstream(good_material(root=make_ca("root", begin=NOW)))
        self.standings: list[Standing] = []
        self.rig: Rig = rig(self.upstream, self.clock, self._publish)
        self.compromised = compromised
        self.follows = follows

    async def _publish(self, standing: Standing) -> None:
        self.standings.append(standing)

    @property
    def roots(self) -> tuple[Record, ...]:
        """Oldest first."""
        return self.rig.store.lifecycle.of(Kind.ROOT)

    @property
    def states(self) -> list[State]:
        """Of the roots."""
        return [one.state for one in self.roots]

    def live(self) -> None:
        """The workload trusts what is in force, and has a leaf from who signs."""
        trusted = {one.pem: one.id for one in self.roots}
        standing = self.standings[-1]
        bundle = {trusted[pem] for pem in trusted if pem in _pems(standing)}
        signs = next((one.id for one in self.roots if one.state is State.ACTIVE), "")
        if self.follows:
            self.rig.census.fleet = (workload(trusts=frozenset(bundle), signers=frozenset({signs})),)
        elif not self.rig.census.fleet:
            first = frozenset({self.roots[0].id})
            self.rig.census.fleet = (workload(trusts=first, signers=first),)

    async def begin(self) -> None:
        """Ask for a rotation."""
        await self.rig.acts.rotate(ANNA, compromised=self.compromised, window=5 * MINUTE)

    async def turn(self, seconds: float = 1.0) -> None:
        """The workload follows, then a turn."""
        self.live()
        await self.clock.advance(seconds)

    def taken(self) -> list[tuple[str, Act]]:
        """What was done to roots, in order."""
        return [
            (one.authority, one.act)
            for one in self.rig.store.history
            if one.kind is Kind.ROOT and one.act in {Act.DISTRIBUTE, Act.ACTIVATE, Act.TAINT, Act.RETIRE}
        ]


def _pems(standing: Standing) -> str:
    return standing.signer.to_wire().roots


@contextlib.asynccontextmanager
async def running(mesh: Mesh) -> AsyncIterator[Mesh]:
    """With its driver running."""
    await mesh.rig.rotation.start()
    mesh.live()
    task = asyncio.create_task(mesh.rig.rotation.run())
    try:
        yield mesh
    finally:
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def walk(mesh: Mesh, place: int, fault: Callable[[], None], mend: Callable[[], None] = lambda: None) -> None:
    """A rotation, with a fault before one of its turns that is mended a little later."""
    await mesh.begin()
    for _ in range(place):
        await mesh.turn(0.3)
    fault()
    await mesh.turn(5)
    mend()
    await ended(mesh)


async def ended(mesh: Mesh) -> None:
    """Let it come to its end."""
    for seconds in (1, 1, 2, 4, 8, 16, 32):
        if mesh.states == [State.RETIRED, State.ACTIVE] and mesh.rig.rotation.progress.error is None:
            break
        await mesh.turn(seconds)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
@pytest.mark.parametrize("jump", JUMPS)
async def test_a_clock_that_jumps(jump: timedelta, *, compromised: bool, place: int) -> None:
    """And is set right again: each step is taken once, and the rotation ends.

    Set back, it waits: certificates that were made just now have not begun.
    """
    mesh = Mesh(compromised=compromised)

    def set_clock(by: timedelta) -> None:
        mesh.clock._now += by

    async with running(mesh):
        await walk(mesh, place, lambda: set_clock(jump), lambda: set_clock(-jump))
        assert mesh.states == [State.RETIRED, State.ACTIVE]
        taken = mesh.taken()
        assert len(taken) == len(set(taken)) == (6 if compromised else 5)
        assert mesh.rig.rotation.progress.error is None


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_window_ends_although_the_clock_jumps(jump: timedelta) -> None:
    """An hour late at most."""
    mesh = Mesh(compromised=True, follows=False)
    async with running(mesh):
        await mesh.begin()
        await mesh.turn(60)
        mesh.clock._now += jump
        for _ in range(20):  # minutes, of which the driver need not see each second
            mesh.clock.move((4 * MINUTE).total_seconds())
            await mesh.turn()
        assert mesh.states == [State.RETIRED, State.ACTIVE]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
async def test_a_store_that_loses_everything(*, compromised: bool, place: int) -> None:
    """What is found is trusted again, all of it, and nothing is retired early: who signed what is not known."""
    mesh = Mesh(compromised=compromised)
    async with running(mesh):
        await mesh.begin()
        for _ in range(place):
            await mesh.turn(0.3)
        there = len(mesh.upstream.materials)
        mesh.rig.store.lifecycle = EMPTY
        mesh.upstream.change()  # look again
        await mesh.turn(5)
        assert mesh.states.count(State.ACTIVE) == 1
        assert len(mesh.states) == there == len(mesh.standings[-1].signer.roots)
        await mesh.turn(10)
        assert State.RETIRED not in mesh.states


@pytest.mark.parametrize("commit", range(1, 7))
@pytest.mark.parametrize("compromised", [False, True], ids=["planned", "compromised"])
async def test_another_who_is_first_at_each_commit(*, compromised: bool, commit: int) -> None:
    """Whoever was overtaken looks again; the state is whole, and nothing counts as failed."""
    mesh = Mesh(compromised=compromised)
    store, commits = mesh.rig.store, 0
    real = store.commit

    async def raced(lifecycle: object, changes: object) -> None:
        nonlocal commits
        commits += 1
        if commits == commit:
            store.overtaken_by(replace(store.lifecycle, generation=store.lifecycle.generation + 1))
        await real(lifecycle, changes)  # type: ignore[arg-type] # as they came

    async with running(mesh):
        store.commit = raced  # type: ignore[method-assign] # another is first once
        with contextlib.suppress(Conflict):
            await mesh.begin()
        if store.lifecycle.plan is None:
            await mesh.begin()
        await ended(mesh)
        assert mesh.states == [State.RETIRED, State.ACTIVE]
        assert len(mesh.taken()) == len(set(mesh.taken()))
        assert mesh.rig.rotation.progress.failures == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("call", CALLS)
async def test_an_upstream_that_is_gone(call: str, place: int) -> None:
    """The last good standing stays in force, and the rotation ends once it is back."""
    mesh = Mesh()

    def lose() -> None:
        mesh.upstream.errors[call] = DOWN
        before.append(len(mesh.standings))

    def find() -> None:
        after.append(len(mesh.standings))
        mesh.upstream.errors.clear()

    before: list[int] = []
    after: list[int] = []
    async with running(mesh):
        await walk(mesh, place, lose, find)
        assert mesh.states == [State.RETIRED, State.ACTIVE]
        assert mesh.rig.rotation.progress.error is None
        assert after[0] >= before[0] >= 1
        if call in {"lines", "obtain"}:
            assert after == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", ["store", "census", "publish"])
async def test_what_else_is_gone(part: str, place: int) -> None:
    """A store, a fleet that cannot be counted, workers that cannot be told: nothing is skipped meanwhile."""
    mesh = Mesh()

    def lose() -> None:
        mesh.rig.store.down = part == "store"
        mesh.rig.census.error = GONE if part == "census" else None
        refusing.append(part == "publish")

    def find() -> None:
        mesh.rig.store.down = False
        mesh.rig.census.error = None
        refusing.clear()

    refusing: list[bool] = []
    publish = mesh.rig.rotation._publish

    async def told(standing: Standing) -> None:
        if any(refusing):
            raise DOWN
        await publish(standing)

    mesh.rig.rotation._publish = told
    async with running(mesh):
        await walk(mesh, place, lose, find)
        assert mesh.states == [State.RETIRED, State.ACTIVE]
        assert len(mesh.taken()) == len(set(mesh.taken()))
        assert mesh.rig.rotation.progress.error is None


async def test_another_who_starts_at_the_same_moment() -> None:
    """Whoever comes second takes up what the first has kept, and starts too."""
    first, mesh = Mesh(), Mesh()
    mesh.upstream = first.upstream
    mesh.rig = rig(first.upstream, mesh.clock, mesh._publish)
    async with running(first):
        mesh.rig.store.overtaken_by(first.rig.store.lifecycle)
        async with running(mesh):
            assert mesh.states == [State.ACTIVE]
            assert mesh.rig.rotation.progress.failures == 0


async def test_a_store_that_cannot_be_read_is_not_asked_without_a_pause() -> None:
    """Also when the turn that failed had kept something before."""
    mesh = Mesh()
    async with running(mesh):
        await mesh.begin()
        mesh.rig.census.error = GONE
        await mesh.clock.advance(60)
        assert len(mesh.rig.census.asked) < 12


async def test_a_root_cannot_be_made_twice_by_who_was_overtaken() -> None:
    """What was made before the conflict is used by the next attempt."""
    mesh = Mesh()
    async with running(mesh):
        kept = mesh.rig.store.lifecycle
        mesh.rig.store.overtaken_by(replace(kept, generation=kept.generation + 1, bundles=()))
        with pytest.raises(Conflict):
            await mesh.begin()
        await mesh.turn()
        await mesh.begin()
        assert (len(mesh.roots), mesh.upstream.history.count("make_root")) == (2, 1)


async def test_no_orphan_key_is_left_by_a_refusal() -> None:
    """A root that was made and then not begun with is known, and the next rotation takes it."""
    mesh = Mesh()
    async with running(mesh):
        mesh.rig.store.down = True
        with pytest.raises(MeshcaError):
            await mesh.begin()
        mesh.rig.store.down = False
        await mesh.turn(5)
        await mesh.begin()
        assert len(mesh.upstream.materials) == 2


async def test_a_rotation_in_numbers() -> None:
    """How long it is under way, whether it is held and by how many, and who was counted by whose word."""
    mesh = Mesh(follows=False)
    async with running(mesh):
        await mesh.begin()
        await mesh.turn(90)
        during = _numbers()
        mesh.follows = True
        for _ in range(4):
            await mesh.turn(2)
        assert mesh.states == [State.RETIRED, State.ACTIVE]
    assert during[1:] == (1.0, 1.0, 1.0, 0.0)
    assert 85 <= during[0] <= 90
    assert _numbers()[:3] == (0.0, 0.0, 0.0)


def _numbers() -> tuple[float, ...]:
    words = metrics.rotation_workloads
    shown = (
        metrics.rotation_seconds,
        metrics.rotation_held,
        metrics.rotation_stragglers,
        words.labels("acknowledged"),
        words.labels("delivered"),
    )
    return tuple(one._value.get() for one in shown)
