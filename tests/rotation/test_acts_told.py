"""What administrators are told without an act: how the roots stand, what an act would do, what was done."""

from __future__ import annotations

import pytest

from meshca.authority.history import Kind
from meshca.authority.lifecycle import Act, State
from meshca.errors import NotFound, Unavailable
from tests.fakes.roots import MINUTE
from tests.fakes.rotation_stage import ANNA, Stage


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
