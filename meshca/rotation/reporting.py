"""Tells how the roots stand, and what a rotation would do: from what is kept and from the fleet as it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authority import planning
from meshca.authority.drafting import Cause
from meshca.authority.fleet import Word, Workload
from meshca.authority.gate import Gate
from meshca.authority.history import Kind, Lifecycle, Record
from meshca.authority.lifecycle import Act, State, step
from meshca.authority.material import read_certificates
from meshca.clock import Clock
from meshca.errors import Unavailable
from meshca.rotation import explain, forecast
from meshca.rotation.acted import version
from meshca.rotation.aim import Wish, aimed, gone_on
from meshca.rotation.judge import Judge
from meshca.rotation.report import AuthorityReport, FleetReport, Forecast, RootReport
from meshca.rotation.steps import Due, following

SHOWN_RETIRED: Final = 3  # roots that are retired; `meshca root list` has all


class Reporting:
    """Makes reports.

    Args:
        judge: judges gates, and has the census.
        clock: what has ended is decided by it.
        driven_by: which replica takes steps.
    """

    def __init__(self, *, judge: Judge, clock: Clock, driven_by: Callable[[], str] = str) -> None:
        self._judge = judge
        self._clock = clock
        self._driven_by = driven_by

    async def report(self, kept: Lifecycle) -> RootReport:
        """How the roots stand; a fleet that cannot be read now is left out, and so is what depends on it."""
        try:
            fleet: tuple[Workload, ...] | None = await self._judge.fleet(kept)
        except Unavailable:
            fleet = None
        now = self._clock.now()
        gate = await self._gate(kept, following(kept), fleet)
        bundle = kept.bundles[-1] if kept.bundles else None
        authorities = tuple(self._authority(record, fleet or ()) for record in _shown(kept))
        return RootReport(
            generation=kept.generation,
            sequence=bundle.sequence if bundle else 0,
            bundle_version=bundle.version if bundle else "",
            authorities=authorities,
            fleet=None if fleet is None else self._fleet(kept, fleet, now),
            plan=kept.plan,
            next_step=explain.next_step(kept, gate),
            gate=gate,
            warnings=tuple(one.words for one in explain.endings(authorities, now)),
            driven_by=self._driven_by(),
        )

    async def forecast(self, kept: Lifecycle, wish: Wish, *, usual: timedelta) -> Forecast:
        """What a rotation would do if it were asked for now; of one that is under way what is left to do.

        Args:
            kept: everything that is kept.
            wish: what is asked for.
            usual: the window of a new one that is not asked for with another.

        Raises:
            Refused, NotFound: as the act itself.
            Unavailable: the fleet cannot be counted now.
        """
        aim = aimed(kept, wish)
        if aim.plan is not None:
            coming, _ = gone_on(kept, aim, Cause(by="", at=self._clock.now()), version)
            return replace(await self.left(coming), plan=kept.plan)
        fleet, now = await self._judge.fleet(kept), self._clock.now()
        stage = forecast.Stage(old=aim.old, twins=aim.twins)
        if not wish.compromised:
            return replace(forecast.planned(fleet, stage, self._judge.terms, now), plan=kept.plan)
        window = usual if wish.window is None else wish.window
        return replace(forecast.compromised(fleet, stage, window, now), plan=kept.plan)

    async def left(self, kept: Lifecycle) -> Forecast:
        """What is left to do of the rotation that is under way.

        Raises:
            Refused: reason `no_rotation`.
            Unavailable: the fleet cannot be counted now.
        """
        plan = planning.under_way(kept)
        fleet, now = await self._judge.fleet(kept), self._clock.now()
        stage = forecast.Stage(
            old=plan.old,
            new=kept.find(plan.new),
            gate=await self._gate(kept, following(kept), fleet),
            tainted_at=plan.tainted_at,
            twins=tuple(one.id for one in kept.of(Kind.ROOT, State.TAINTED) if one.id != plan.old),
        )
        if plan.compromised:
            found = forecast.compromised(fleet, stage, plan.window, now)
        else:
            found = forecast.planned(fleet, stage, self._judge.terms, now)
        return replace(found, plan=plan)

    async def forecast_taint(self, kept: Lifecycle, record: Record, window: timedelta) -> Forecast:
        """What it would do to have every leaf below a root replaced within a window, and the root dropped then.

        Raises:
            Refused: reason `transition`.
            Unavailable: the fleet cannot be counted now.
        """
        step(record.state, Act.TAINT)
        stage = forecast.Stage(old=record.id, new=kept.active_root)
        found = forecast.compromised(await self._judge.fleet(kept), stage, window, self._clock.now())
        return replace(found, plan=kept.plan)

    async def forecast_act(self, kept: Lifecycle, act: Act, record: Record, *, force: bool) -> Forecast:
        """What a single act would do.

        Raises:
            Refused: reason `transition`.
            Unavailable: the fleet cannot be counted now.
        """
        gate = await self._judge.gate(kept, act, record)
        return replace(forecast.single(act, record, gate, force=force), plan=kept.plan)

    async def _gate(self, kept: Lifecycle, coming: Due | None, fleet: tuple[Workload, ...] | None) -> Gate | None:
        if coming is None:
            return None
        if fleet is None:
            why = "the store cannot be read now, so nobody can be counted; see `meshca status`"
            return Gate(open=False, ready=0, of=0, why=why)
        try:
            return await self._judge.gate(kept, coming.act, coming.record, fleet)
        except Unavailable as error:
            return Gate(open=False, ready=0, of=0, why=error.detail)

    def _authority(self, record: Record, fleet: tuple[Workload, ...]) -> AuthorityReport:
        certificate = read_certificates(record.pem.encode(), record.id)[0]
        holders = [one for one in fleet if record.id in one.signers] if record.kind is Kind.ROOT else []
        ends = [one.leaf_ends for one in holders if one.leaf_ends is not None]
        return AuthorityReport(
            record=record,
            subject=certificate.subject.rfc4514_string(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            trusted_by=sum(record.id in one.trusts for one in fleet),
            leaves=len(holders),
            last_leaf_ends=max(ends, default=None),
        )

    def _fleet(self, kept: Lifecycle, fleet: tuple[Workload, ...], now: datetime) -> FleetReport:
        newest = frozenset(kept.bundles[-1].roots) if kept.bundles else frozenset()
        words = [one.word if newest <= one.trusts else Word.NONE for one in fleet]
        return FleetReport(
            seen=len(fleet),
            acknowledged=words.count(Word.ACKNOWLEDGED),
            delivered=words.count(Word.DELIVERED),
            none=words.count(Word.NONE),
            seen_since=now - self._judge.census.seen_within,
            oldest_seen=min((one.seen_at for one in fleet), default=None),
        )


def _shown(kept: Lifecycle) -> list[Record]:
    """Roots, then what signs now; of what is retired the newest few."""
    roots = kept.of(Kind.ROOT)
    retired = [one for one in roots if one.state is State.RETIRED][-SHOWN_RETIRED:]
    living = [one for one in roots if one.state is not State.RETIRED]
    return [*retired, *living, *kept.of(Kind.INTERMEDIATE, State.ACTIVE)]
