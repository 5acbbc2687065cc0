"""What an administrator asks of the roots: implements the port `commands.RootCommands`.

Each act looks at the newest state, judges its gate, and is one commit; whoever was overtaken is told. After a
commit the driver is woken and puts in force what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from meshca.authority.drafting import Cause, Planned
from meshca.authority.gate import Gate
from meshca.authority.history import Bundle, Change, Kind, Lifecycle, LifecycleStore, Plan, Record, Request
from meshca.authority.lifecycle import Act, State
from meshca.authority.requests import add_request, end_request, same_request, waiting_request
from meshca.clock import Clock
from meshca.errors import BadRequest, NotFound, Refused
from meshca.rotation import forecast
from meshca.rotation.acted import course, planned, version
from meshca.rotation.aim import Aim, Wish, aimed, check_said, check_stops, gone_on
from meshca.rotation.commands import Asked
from meshca.rotation.driver import Rotation
from meshca.rotation.judge import Judge
from meshca.rotation.keeping import keep, keep_anew
from meshca.rotation.report import Forecast, RootReport
from meshca.rotation.reporting import Reporting
from meshca.rotation.stepper import Stepper
from meshca.rotation.steps import Due

_COMING: Final = frozenset({State.PREPARED, State.DISTRIBUTING})  # of a root that could follow the one that signs

Check = Callable[[Lifecycle], None]
"""Refuses, by raising, what is not to be done to a state."""


def _anything(_: Lifecycle) -> None:
    """Refuse nothing."""


class RootActs:
    """The administrator's commands.

    Args:
        store: what is kept.
        stepper: takes the acts.
        judge: says whether they are safe.
        rotation: is woken after each.
        reporting: tells how all stands.
        clock: when it was done.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        store: LifecycleStore,
        stepper: Stepper,
        judge: Judge,
        rotation: Rotation,
        reporting: Reporting,
        clock: Clock,
    ) -> None:
        self._store = store
        self._stepper = stepper
        self._judge = judge
        self._rotation = rotation
        self._reporting = reporting
        self._clock = clock

    async def report(self) -> RootReport:
        """As the port says."""
        return await self._reporting.report(await self._store.load())

    async def lifecycle(self) -> Lifecycle:
        """As the port says."""
        return await self._store.load()

    async def changes(self, limit: int) -> Sequence[Change]:
        """As the port says."""
        return await self._store.changes(limit)

    async def bundle(self, sequence: int | None = None) -> tuple[Bundle, Sequence[Record]]:
        """As the port says.

        Raises:
            NotFound: reason `bundle`.
        """
        kept = await self._store.load()
        found = next((one for one in reversed(kept.bundles) if sequence in {None, one.sequence}), None)
        records = [] if found is None else [record for one in found.roots if (record := kept.find(one))]
        if found is None or len(records) < len(found.roots):
            raise NotFound("bundle", "no bundle of this sequence is kept; `meshca root status` shows the newest")
        return found, records

    async def forecast(self, *, compromised: bool, window: timedelta | None, root: str = "") -> Forecast:
        """As the port says."""
        kept, wish = await self._store.load(), Wish(compromised=compromised, window=window, root=root)
        aim = aimed(kept, wish)
        if aim.plan is None:
            await self._stepper.check_successor(kept, aim.old)
        return await self._reporting.forecast(kept, wish, usual=self._stepper.config.window)

    async def foresee(
        self, act: Act, root: str, *, force: bool = False, window: timedelta | None = None
    ) -> Forecast:
        """As the port says."""
        kept = await self._store.load()
        record = self._root(kept, root)
        if act is Act.TAINT:
            length = window if window is not None else self._stepper.window(kept)
            return await self._reporting.forecast_taint(kept, record, length)
        if act is Act.RETIRE:
            self._gives_up(record)(kept)
        found = retires(record) if act is Act.RETIRE else act
        return await self._reporting.forecast_act(kept, found, record, force=force)

    async def foresee_course(self, act: Act, *, compromised: bool) -> Forecast:
        """As the port says."""
        kept = await self._store.load()
        if act is Act.RESUME:
            check_said(kept, compromised=compromised)
        else:
            self._stops(compromised=compromised)(kept)
        after, _ = course(kept, act, Cause(by="", at=self._clock.now()))
        if act is Act.RESUME:
            return replace(await self._reporting.left(after), plan=kept.plan)
        return Forecast(steps=(forecast.held_up(kept, after),), plan=kept.plan)

    async def prepare(self, asked: Asked, *, same_key: bool = False) -> Record:
        """As the port says."""
        kept = await self._store.load()
        if kept.plan is not None:
            raise _under_way(kept.plan)
        _, new = await self._stepper.begin(kept, self._cause(kept, asked), automatic=False, reuse=same_key)
        self._rotation.wake()
        return new

    async def activate(self, asked: Asked, root: str) -> None:
        """As the port says."""
        kept = await self._store.load()
        await self._take(kept, asked, Act.ACTIVATE, self._root(kept, root))

    async def taint(self, asked: Asked, root: str, window: timedelta | None) -> None:
        """As the port says."""
        kept = await self._store.load()
        record = self._root(kept, root)
        await self._take(kept, asked, Act.TAINT, record, window=window)

    async def retire(self, asked: Asked, root: str) -> None:
        """As the port says."""
        kept = await self._store.load()
        record = self._root(kept, root)
        still = self._gives_up(record)
        still(kept)
        await self._take(kept, asked, retires(record), record, still=still)

    async def rotate(self, asked: Asked, *, compromised: bool, window: timedelta | None, root: str = "") -> Record:
        """As the port says."""
        kept = await self._store.load()
        aim = aimed(kept, Wish(compromised=compromised, window=window, root=root))
        if aim.plan is not None:
            return await self._went_on(kept, aim, aim.plan, asked)
        _, new = await self._stepper.begin(
            kept, self._cause(kept, asked), compromised=compromised, window=window, twins=aim.twins
        )
        self._rotation.wake()
        return new

    async def pause(self, asked: Asked) -> None:
        """As the port says."""
        kept = await self._store.load()
        still = self._stops(compromised=asked.compromised)
        still(kept)
        await self._commit(kept, asked, course(kept, Act.PAUSE, self._cause(kept, asked)), still)

    async def resume(self, asked: Asked) -> None:
        """As the port says."""
        kept = await self._store.load()
        check_said(kept, compromised=asked.compromised)
        await self._commit(kept, asked, course(kept, Act.RESUME, self._cause(kept, asked)))

    async def abort(self, asked: Asked) -> None:
        """As the port says."""
        kept = await self._store.load()
        still = self._stops(compromised=asked.compromised)
        still(kept)
        old = None if kept.plan is None else kept.find(kept.plan.old)
        if old is not None and old.state is State.RETIRING:  # it is to sign again
            await self._stepper.prove(kept, old)
        await self._commit(kept, asked, course(kept, Act.ABORT, self._cause(kept, asked)), still)

    async def propose(self, request: Request) -> Request:
        """As the port says."""
        now = await keep_anew(self._store, self._clock, lambda kept: add_request(kept, request))
        return same_request(now, request) or request

    async def end(self, request: str, act: Act, asked: Asked) -> Request:
        """As the port says."""
        now = self._clock.now()
        cause = Cause(by=asked.by, reason=asked.reason, at=now)
        found = waiting_request(await self._store.load(), request, now)
        await keep_anew(self._store, self._clock, lambda kept: end_request(kept, request, act, cause))
        return found

    async def _went_on(self, kept: Lifecycle, aim: Aim, plan: Plan, asked: Asked) -> Record:
        """The rotation that is under way, by itself again, and as urgent as it is asked for now."""
        if aim.back:
            await self._stepper.prove(kept, next(one for one in kept.records if one.id == plan.new))
        kept = await self._commit(kept, asked, gone_on(kept, aim, self._cause(kept, asked), version))
        return next(one for one in kept.records if one.id == plan.new)

    async def _take(  # noqa: PLR0913 - an act and its terms
        self,
        kept: Lifecycle,
        asked: Asked,
        act: Act,
        record: Record,
        *,
        window: timedelta | None = None,
        still: Check = _anything,
    ) -> None:
        gate = await self._judge.gate(kept, act, record)
        if not gate.open and not asked.force:
            raise Refused("gate_closed", forecast.closed(act, record, gate))
        if act is Act.ACTIVATE:
            await self._stepper.prove(kept, record)
        length = window if window is not None else self._stepper.window(kept)
        cause = self._cause(kept, asked, gate)
        await self._commit(kept, asked, planned(kept, Due(act=act, record=record), cause, length), still)

    def _stops(self, *, compromised: bool) -> Check:
        return lambda now: check_stops(now, self._clock.now(), compromised=compromised)

    def _gives_up(self, record: Record) -> Check:
        """To retire a root that could follow is to abort by another name."""

        def still(now: Lifecycle) -> None:
            if record.state in _COMING and (now.plan is None or record.id == now.plan.new):
                check_stops(now, self._clock.now(), compromised=False)

        return still

    async def _commit(self, kept: Lifecycle, asked: Asked, made: Planned, still: Check = _anything) -> Lifecycle:
        if asked.request is not None and not made[1]:  # it was done before it was approved
            cause = Cause(by=asked.by, reason="approved, and nothing was left to do", at=self._clock.now())
            made = end_request(kept, asked.request.id, Act.LAPSE, cause)
        after = await keep(self._store, self._clock, kept, made, still)
        self._rotation.wake()
        return after

    def _cause(self, kept: Lifecycle, asked: Asked, gate: Gate | None = None) -> Cause:
        if asked.force and not asked.reason:
            raise BadRequest("reason", "what is forced needs a reason; it is kept with the act")
        now, done = self._clock.now(), asked.request
        if done is not None and waiting_request(kept, done.id, now) != done:
            raise NotFound("request", f"request {done.id} is not what was approved; look again: `meshca requests`")
        forced = gate is not None and not gate.open
        why = gate.told if gate is not None else ""
        return Cause(by=asked.by, reason=asked.reason, guard=why, forced=forced, at=now, request=done)

    def _root(self, kept: Lifecycle, name: str) -> Record:
        """A root by its id, or the beginning of it that no other shares.

        Raises:
            NotFound: there is none, or more than one.
        """
        found = [one for one in kept.of(Kind.ROOT) if name and one.id.startswith(name.lower())]
        if len(found) != 1:
            problem = "more than one root's id begins so; give more of it" if found else "there is no such root"
            raise NotFound("root", f"{problem}; `meshca root list` shows all")
        return found[0]


def retires(record: Record) -> Act:
    """The act that is meant by retiring a root: one that nobody trusts yet is given up."""
    return Act.ABORT if record.state is State.PREPARED else Act.RETIRE


def _under_way(plan: Plan) -> Refused:
    return Refused(
        "rotation_under_way",
        f"{plan.by} began a rotation at {plan.started_at.isoformat()}; let it end, or abort it first",
    )
