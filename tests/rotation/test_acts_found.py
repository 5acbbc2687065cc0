"""Roots that are found, not made: plugged in, there before anything was kept, or left by a lost store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from meshca.authority.lifecycle import State
from meshca.errors import ConfigError, Refused
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW, good_material, make_ca
from tests.fakes.roots import MINUTE
from tests.fakes.rotation_rig import FakeCensus
from tests.fakes.rotation_stage import ANNA, Stage, made, running

HUGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\4\0" + bytes(740_000))


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
