"""Whatever is asked, fails, races or jumps: what must hold for every root at every moment still holds.

A state machine over the real driver, its acts and its gates; the fleet, the store and the upstream are fakes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshca.authority.history import Change, Kind, Lifecycle
from meshca.authority.lifecycle import TRUSTED, Act, State
from meshca.authority.material import certificate_id, read_certificates
from meshca.errors import MeshcaError, Unavailable
from meshca.rotation.commands import Asked
from meshca.rotation.standing import Standing
from meshca.upstream.sound_root import root_of
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.roots import HOUR, MINUTE, workload
from tests.fakes.rotation_rig import Rig, rig
from tests.fakes.upstream import FakeUpstream

ANNA = Asked(by="uid 0", reason="the audit asks for it")
WINDOW = 5 * MINUTE
NAMES = ("one", "two", "three")


class Rotations(RuleBasedStateMachine):
    """Workloads follow what is in force when they are connected and a rule lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock(NOW)
        self.upstream = FakeUpstream(good_material(root=make_ca("root", begin=NOW - 5 * MINUTE)))
        self.rig: Rig = rig(self.upstream, self.clock, self._publish)
        self.standing: Standing | None = None
        self.trusts: dict[str, frozenset[str]] = {}
        self.holds: dict[str, str] = {}
        self.retired: set[str] = set()
        self.refusing = False
        self.looked = 0
        self.hurried = False

    def teardown(self) -> None:
        """The loop ends with the machine."""
        self.loop.close()

    async def _publish(self, standing: Standing) -> None:
        if self.refusing:
            raise Unavailable("test", "no worker answers")
        self.standing = standing

    def run(self, doing: Coroutine[Any, Any, object]) -> None:
        """Do it; what is refused or fails must change nothing that matters."""
        with contextlib.suppress(MeshcaError):
            self.loop.run_until_complete(doing)

    @property
    def kept(self) -> Lifecycle:
        """As it is stored."""
        return self.rig.store.lifecycle

    @initialize()
    def start(self) -> None:
        """Everybody trusts the first root and holds a leaf below it."""
        self.run(self.rig.rotation.start())
        for name in NAMES:
            self.follow(name)
            self.renew(name)

    def count(self) -> None:
        """Let the census see the fleet as it is."""
        self.rig.census.fleet = tuple(
            workload(name, trusts=self.trusts[name], signers=frozenset({self.holds[name]})) for name in self.holds
        )

    @rule(name=st.sampled_from(NAMES))
    def follow(self, name: str) -> None:
        """A workload takes the bundle in force and says so."""
        assert self.standing is not None
        withheld = read_certificates(self.standing.bundle.encode(), "bundle") if self.standing.withheld else None
        self.trusts[name] = frozenset(map(certificate_id, withheld or self.standing.signer.roots))
        self.count()

    @rule(name=st.sampled_from(NAMES))
    def renew(self, name: str) -> None:
        """A workload gets a leaf from who signs in force, if anything is signed."""
        assert self.standing is not None
        if self.standing.withheld:
            return
        self.holds[name] = certificate_id(root_of(self.standing.signer))
        self.count()

    @rule()
    def turn(self) -> None:
        """The driver looks."""
        self.run(self.rig.rotation._turn())

    @rule(compromised=st.booleans())
    def rotate(self, *, compromised: bool) -> None:
        """Somebody asks for a rotation."""
        self.run(self.rig.acts.rotate(ANNA, compromised=compromised, window=WINDOW))

    @rule(act=st.sampled_from(["pause", "resume", "abort", "prepare"]))
    def ask(self, act: str) -> None:
        """Or for something else."""
        self.run(getattr(self.rig.acts, act)(ANNA))

    @rule(act=st.sampled_from(["activate", "retire", "taint"]), place=st.integers(0, 4))
    def ask_of_a_root(self, act: str, place: int) -> None:
        """By hand, of any root, without force."""
        roots = self.kept.of(Kind.ROOT)
        window = (WINDOW,) if act == "taint" else ()
        self.run(getattr(self.rig.acts, act)(ANNA, roots[place % len(roots)].id, *window))

    @rule(seconds=st.sampled_from([1, 30, 200, 400]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.move(seconds)

    @rule(hours=st.sampled_from([-1, 1]))
    def set_clock(self, hours: int) -> None:
        """The wall clock is set."""
        self.clock._now += hours * HOUR

    @rule(what=st.sampled_from(["store", "census", "workers", "lines", "obtain", "make_root", "forget"]))
    def lose(self, what: str) -> None:
        """Something is gone."""
        self.rig.store.down = what == "store"
        self.rig.census.error = Unavailable("store", "gone") if what == "census" else None
        self.refusing = what == "workers"
        if what in {"lines", "obtain", "make_root", "forget"}:
            self.upstream.errors[what] = Unavailable("test", "down")

    @rule()
    def find(self) -> None:
        """All is there again."""
        self.rig.store.down, self.rig.census.error, self.refusing = False, None, False
        self.upstream.errors.clear()

    @precondition(lambda self: not self.rig.store._rivals)
    @rule()
    def race(self) -> None:
        """Another replica is first at the next commit."""
        kept = self.kept
        self.rig.store.overtaken_by(replace(kept, generation=kept.generation + 1))

    @invariant()
    def one_root_signs(self) -> None:
        """Exactly one, and it is trusted."""
        if self.kept.generation:
            assert len(self.kept.of(Kind.ROOT, State.ACTIVE)) == 1

    @invariant()
    def what_signs_is_in_the_bundle(self) -> None:
        """In force, both who signs and who vouches for the server."""
        if self.standing is not None:
            for material in (self.standing.signer, self.standing.serving):
                assert root_of(material) in self.standing.signer.roots

    @invariant()
    def the_newest_bundle_is_what_is_trusted(self) -> None:
        """Of the state that is kept."""
        if self.kept.bundles:
            assert set(self.kept.bundles[-1].roots) == {one.id for one in self.kept.trusted}

    @invariant()
    def retired_roots_never_come_back(self) -> None:
        """Neither as a state nor into the bundle."""
        now = {one.id for one in self.kept.of(Kind.ROOT, State.RETIRED)}
        assert self.retired <= now
        self.retired = now

    @invariant()
    def keys_of_what_is_trusted_are_there(self) -> None:
        """Only what is retired was deleted."""
        for one in self.kept.of(Kind.ROOT, *TRUSTED):
            assert one.id in self.upstream.materials
            assert certificate_id(read_certificates(one.pem.encode(), "root")[0]) == one.id

    @invariant()
    def nobody_who_follows_is_left_behind(self) -> None:
        """Whoever acknowledged meets no leaf that it does not trust, except at the deadline of a stolen key."""
        for change in self.rig.store.history[self.looked :]:
            if change.kind is Kind.ROOT and change.act in {Act.ACTIVATE, Act.RETIRE}:
                self.judge(change)
        self.looked = len(self.rig.store.history)

    @invariant()
    def everybody_verifies_everybody(self) -> None:
        """Each trusts what each holds, unless a window made somebody lose."""
        if not self.hurried and len(self.holds) == len(NAMES):
            for name in NAMES:
                assert set(self.holds.values()) <= self.trusts[name]

    def judge(self, change: Change) -> None:
        """No act went past its gate, unless the window of a compromised root was over."""
        if change.act is Act.ACTIVATE:
            ready = all(change.authority in trusts for trusts in self.trusts.values())
            allowed = not self.trusts or ready or change.forced
        else:
            held = change.authority in self.holds.values()
            allowed = not held or "the window is over since" in change.guard
        self.hurried |= change.forced or "the window is over since" in change.guard
        assert allowed, change
        if change.forced:
            plan = self.kept.plan
            assert plan is None or plan.compromised


TestRotations = Rotations.TestCase
TestRotations.settings = settings(
    max_examples=15,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
