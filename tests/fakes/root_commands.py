"""The commands on roots over memory: the table of states is the real one, the fleet is what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from meshca.authority.drafting import Cause
from meshca.authority.gate import Gate
from meshca.authority.history import Bundle, Change, Kind, Lifecycle, Plan, Record, Request
from meshca.authority.lifecycle import Act, Guard, State, step
from meshca.authority.material import certificate_id
from meshca.authority.requests import add_request, end_request, same_request, waiting_request
from meshca.clock import Clock
from meshca.errors import NotFound, Refused, Unavailable
from meshca.rotation.aim import Wish, aimed
from meshca.rotation.commands import Asked
from meshca.rotation.report import AuthorityReport, FleetReport, Forecast, ForecastStep, RootReport
from tests.fakes.pki import Ca, make_ca

OPEN = Gate(open=True, ready=2, of=2, why="all 2 workloads are ready")
WINDOW = timedelta(minutes=5)


class FakeRootCommands:
    """Implements `meshca.rotation.commands.RootCommands`.

    Attributes:
        state: everything that is kept.
        log: every change, oldest first.
        gate: what is found of the fleet; a closed one refuses what is not forced.
        foreseen: what a forecast says.
        warnings: of the report.
        asked: who asked for what, in order.
        down: makes the store unreachable.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._certificates: dict[str, Ca] = {}
        self.state = Lifecycle()
        self.log: list[Change] = []
        self.gate = OPEN
        self.foreseen = Forecast(steps=(ForecastStep(says="now: make a root"),))
        self.warnings: tuple[str, ...] = ()
        self.asked: list[tuple[str, Asked]] = []
        self.down = False
        self._approved: Request | None = None
        first = replace(self._made("root 1"), state=State.ACTIVE)
        self._commit((*self.state.records, first), plan=None)

    async def report(self) -> RootReport:
        """How the roots stand."""
        self._check()
        now = self._clock.now()
        roots = [self._told(one) for one in self.state.of(Kind.ROOT)]
        return RootReport(
            generation=self.state.generation,
            sequence=self.state.bundles[-1].sequence,
            bundle_version=self.state.bundles[-1].version,
            authorities=tuple(roots),
            fleet=FleetReport(
                seen=self.gate.of,
                acknowledged=self.gate.of,
                delivered=0,
                none=0,
                seen_since=now - timedelta(days=1),
                oldest_seen=now if self.gate.of else None,
            ),
            plan=self.state.plan,
            next_step="sign below the new root once it is trusted" if self.state.plan else "",
            gate=self.gate if self.state.plan else None,
            warnings=self.warnings,
            driven_by="replica-0",
        )

    async def lifecycle(self) -> Lifecycle:
        """Everything that is kept."""
        self._check()
        return self.state

    async def changes(self, limit: int) -> Sequence[Change]:
        """Newest first."""
        self._check()
        return self.log[::-1][:limit]

    async def bundle(self, sequence: int | None = None) -> tuple[Bundle, Sequence[Record]]:
        """One that was given out."""
        self._check()
        for one in reversed(self.state.bundles):
            if sequence in {None, one.sequence}:
                return one, [record for record in self.state.records if record.id in one.roots]
        raise NotFound("bundle", f"no bundle with sequence {sequence} is remembered")

    async def forecast(self, *, compromised: bool, window: timedelta | None, root: str = "") -> Forecast:
        """What the test says, of a wish that can be had."""
        self._check()
        aimed(self.state, Wish(compromised=compromised, window=window, root=root))
        return self.foreseen

    async def foresee(
        self, act: Act, root: str, *, force: bool = False, window: timedelta | None = None
    ) -> Forecast:
        """What the test says, of an act that is possible."""
        self._check()
        found = self.state.find(root)
        if found is None:
            raise NotFound("root", f"no root with id {root} is known")
        step(found.state, act)
        return self.foreseen

    async def foresee_course(self, act: Act, *, compromised: bool) -> Forecast:
        """What the test says, of a rotation that is under way."""
        self._check()
        self._urgent(Asked(by="", compromised=compromised))
        self._plan()
        return self.foreseen

    async def prepare(self, asked: Asked, *, same_key: bool = False) -> Record:
        """Make a root, distributed at once."""
        self._ask("prepare", asked)
        record = replace(self._made(f"root {len(self.state.records) + 1}"), state=State.DISTRIBUTING)
        self._commit((*self.state.records, record), plan=self.state.plan)
        return record

    async def activate(self, asked: Asked, root: str) -> None:
        """Sign below it, and no more below the one before."""
        self._ask("activate", asked)
        before = self.state.active_root
        self._move(asked, root, Act.ACTIVATE)
        if before is not None:
            self._move(asked, before.id, Act.SUPERSEDE)

    async def taint(self, asked: Asked, root: str, window: timedelta | None) -> None:
        """Not ours alone."""
        self._ask("taint", asked)
        self._move(asked, root, Act.TAINT)

    async def retire(self, asked: Asked, root: str) -> None:
        """Trust it no more."""
        self._ask("retire", asked)
        if self.state.plan is not None and self.state.plan.new == root:
            self._urgent(asked)
        self._move(asked, root, Act.RETIRE)

    async def rotate(self, asked: Asked, *, compromised: bool, window: timedelta | None, root: str = "") -> Record:
        """Begin, or go on."""
        aim = aimed(self.state, Wish(compromised=compromised, window=window, root=root))
        if aim.plan is not None:
            self._ask("rotate", asked)
            self._commit(self.state.records, plan=aim.plan)
            return next(one for one in self.state.records if one.id == aim.plan.new)
        record = await self.prepare(asked)
        plan = Plan(
            old=aim.old,
            new=record.id,
            automatic=True,
            compromised=compromised,
            window=WINDOW if window is None else window,
            started_at=self._clock.now(),
            by=asked.by,
            reason=asked.reason,
        )
        self._commit(self.state.records, plan=plan)
        return record

    async def pause(self, asked: Asked) -> None:
        """No step by itself."""
        self._ask("pause", asked)
        self._urgent(asked)
        self._commit(self.state.records, plan=replace(self._plan(), paused=True))

    async def resume(self, asked: Asked) -> None:
        """Steps again."""
        self._ask("resume", asked)
        self._urgent(asked)
        self._commit(self.state.records, plan=replace(self._plan(), paused=False))

    async def abort(self, asked: Asked) -> None:
        """Back to the state before."""
        self._ask("abort", asked)
        self._urgent(asked)
        self._move(asked, self._plan().new, Act.ABORT)
        self._commit(self.state.records, plan=None)

    async def propose(self, request: Request) -> Request:
        """Keep it."""
        self._check()
        self.state, changes = add_request(self.state, request)
        self.log += changes
        return same_request(self.state, request) or request

    async def end(self, request: str, act: Act, asked: Asked) -> Request:
        """Have it wait no more."""
        self._check()
        found = waiting_request(self.state, request, self._clock.now())
        cause = Cause(by=asked.by, reason=asked.reason, at=self._clock.now())
        self.state, changes = end_request(self.state, request, act, cause)
        self.log += changes
        return found

    def _check(self) -> None:
        if self.down:
            raise Unavailable("store", "the fake is down")

    def _ask(self, what: str, asked: Asked) -> None:
        self._check()
        if asked.request is not None:
            waiting_request(self.state, asked.request.id, self._clock.now())
        self.asked.append((what, asked))
        self._approved = asked.request

    def _urgent(self, asked: Asked) -> None:
        if self.state.plan is not None and self.state.plan.compromised and not asked.compromised:
            raise Refused("compromised", "it replaces a stolen root")

    def _plan(self) -> Plan:
        if self.state.plan is None:
            raise Refused("no_rotation", "no rotation is under way")
        return self.state.plan

    def _made(self, name: str) -> Record:
        ca = make_ca(name)
        id_ = certificate_id(ca.certificate)
        self._certificates[id_] = ca
        return Record(id=id_, kind=Kind.ROOT, state=State.PREPARED, pem=ca.pem, since=self._clock.now())

    def _told(self, record: Record) -> AuthorityReport:
        certificate = self._certificates[record.id].certificate
        return AuthorityReport(
            record=record,
            subject=certificate.subject.rfc4514_string(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            trusted_by=self.gate.ready,
        )

    def _move(self, asked: Asked, root: str, act: Act) -> None:
        found = self.state.find(root)
        if found is None:
            raise NotFound("root", f"no root with id {root} is known")
        taken = step(found.state, act)
        fleet = taken.guard in {Guard.ADOPTED, Guard.UNUSED, Guard.OVER}
        forced = fleet and not self.gate.open
        if forced and not asked.force:
            raise Refused("gate_closed", self.gate.why)
        moved = replace(found, state=taken.after, since=self._clock.now())
        self._commit(tuple(moved if one is found else one for one in self.state.records), plan=self.state.plan)
        self.log.append(
            Change(
                generation=self.state.generation,
                authority=root,
                kind=found.kind,
                act=act,
                before=found.state,
                after=taken.after,
                guard=self.gate.why if fleet else "",
                forced=forced,
                by=asked.by,
                reason=asked.reason,
                at=self._clock.now(),
            )
        )

    def _commit(self, records: tuple[Record, ...], plan: Plan | None) -> None:
        waiting = tuple(one for one in self.state.requests if one != self._approved)
        state = replace(
            self.state, generation=self.state.generation + 1, records=records, plan=plan, requests=waiting
        )
        roots = tuple(one.id for one in state.trusted)
        if not state.bundles or state.bundles[-1].roots != roots:
            sequence = len(state.bundles) + 1
            bundle = Bundle(sequence=sequence, version=f"v{sequence}", roots=roots, at=self._clock.now())
            state = replace(state, bundles=(*state.bundles, bundle))
        self.state = state
