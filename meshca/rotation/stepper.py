"""Takes the acts that are due, each kept before anything is done by it.

An act whose gate is closed is not taken; only the window of a compromised root and an administrator who forces it
go past one, and both are recorded with what the gate said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from meshca import metrics
from meshca.authority import planning
from meshca.authority.drafting import OURSELVES, Cause, Planned, bundle_text
from meshca.authority.gate import Gate
from meshca.authority.history import Kind, Lifecycle, LifecycleStore, Plan, Record
from meshca.authority.intermediates import retire_ended
from meshca.authority.lifecycle import Act, State
from meshca.authority.material import certificate_id, ends_at
from meshca.authority.slot import Slot
from meshca.authority.upstream import Line, Upstream
from meshca.clock import Clock
from meshca.config.rotation import RotationConfig
from meshca.errors import ConfigError, MeshcaError, Refused
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.rotation.acted import planned, version
from meshca.rotation.candidates import candidates, on_its_way, telling_why
from meshca.rotation.joining import may_join
from meshca.rotation.judge import Judge, fits, given_to
from meshca.rotation.keeping import keep
from meshca.rotation.steps import Due, Named, due, named_by, stopped, successor
from meshca.validity import spent


class Stepper:
    """Takes steps.

    Args:
        upstream: has the roots.
        store: keeps what was done.
        judge: says whether an act is safe.
        clock: when it was done.
        trust_domain: that is signed for.
        config: what begins a rotation by itself.
        plugged_in: whether the operator says by the upstream's source which roots there are.

    Attributes:
        problem: why a root of the upstream's is not taken up, as of the last `adopt`; None when all are.
    """

    problem: MeshcaError | None = None

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        upstream: Upstream,
        store: LifecycleStore,
        judge: Judge,
        clock: Clock,
        trust_domain: TrustDomain,
        config: RotationConfig,
        plugged_in: bool,
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._judge = judge
        self._clock = clock
        self._trust_domain = trust_domain
        self.config = config
        self._plugged_in = plugged_in
        self._given: set[str] = set()  # roots that the operator has named here since the start

    async def adopt(self, kept: Lifecycle, lines: Sequence[Line]) -> Lifecycle:
        """The state with every root of the upstream's in it; a new one is proven first.

        Raises:
            ConfigError: what signs below the first root of all does not prove itself.
        """
        self.problem = None
        self._given.update(certificate_id(line.root) for line in lines if line.wanted)
        known = {record.id for record in kept.of(Kind.ROOT)}
        fresh = [line for line in lines if certificate_id(line.root) not in known and (line.wanted or line.kept)]
        good = [line for line in fresh if await self._good(kept, line, first=not known)]
        if not good:
            return kept
        by = Cause(by=OURSELVES, reason="found at the upstream", at=self._clock.now())
        return await self.commit(kept, planning.adopt_lines(kept, good, by, version))

    async def step(self, kept: Lifecycle, lines: Sequence[Line]) -> tuple[Lifecycle, str]:
        """Take the act that is due, if it is safe; why it is not, empty when it was taken or there is none.

        One at a time: whether the next is safe is judged once this one is in force.

        Raises:
            Unavailable: the fleet cannot be counted, or an act cannot be kept now.
            Conflict: another was first.
        """
        named = named_by(lines, plugged_in=self._plugged_in)
        kept = await self.commit(kept, retire_ended(kept, Cause(by=OURSELVES, at=self._clock.now())))
        try:
            kept = await self._begun_by_itself(kept, named)
        except Refused as refusal:  # nothing was begun; what signs must still be renewed
            return kept, f"a rotation is due and cannot begin: {refusal.detail}"
        found = due(kept, named)
        if found is None:
            metrics.rotation_stragglers.set(0)
            return kept, stopped(kept)
        gate = await self._gate(kept, found)
        metrics.rotation_stragglers.set(len(gate.stragglers) + gate.unnamed)
        if not gate.open and (found.deadline is None or self._clock.now() < found.deadline):
            return kept, f"{found.act.value} of {found.record.id[:16]} waits: {gate.why}"
        return await self.take(kept, found, _ourselves(gate, self._clock.now())), ""

    async def _gate(self, kept: Lifecycle, found: Due) -> Gate:
        """What is found of an act; a root that only another replica was given is not given up by this one."""
        unknown = found.act is Act.ABORT and found.record.id not in self._given
        if unknown and (others := await self._judge.others()):
            return given_to(others, found.record)
        return await self._judge.gate(kept, found.act, found.record)

    async def take(self, kept: Lifecycle, found: Due, cause: Cause) -> Lifecycle:
        """Take one act, kept when this returns; when it raises it was not taken."""
        if found.act is Act.ACTIVATE:
            await self.prove(kept, found.record)
        return await self.commit(kept, planned(kept, found, cause, self.window(kept)))

    async def prove(self, kept: Lifecycle, root: Record) -> None:
        """See that a root can sign before anything is kept that relies on it; raises as `Upstream.obtain`."""
        offer = await self._upstream.obtain(root.id)
        Slot.prove(offer.material.trusting(bundle_text(kept.trusted)), self._trust_domain, self._clock.now())

    async def begin(  # noqa: PLR0913 - how it shall go on, by name
        self,
        kept: Lifecycle,
        cause: Cause,
        *,
        compromised: bool = False,
        automatic: bool = True,
        window: timedelta | None = None,
        reuse: bool = False,
        twins: Sequence[str] = (),
    ) -> tuple[Lifecycle, Record]:
        """Begin to rotate to a root that is prepared already, or to a new one; it is distributed at once.

        Gives the state since, and the root to rotate to. Twins have the stolen key of the old root and go with it.

        Raises:
            Refused: reasons `upstream`, `bundle_too_large`; nothing was begun.
            ConfigError: the new root does not prove itself.
            Unavailable, Conflict: it was not begun.
        """
        old = kept.active_root
        if old is None:
            raise Refused("no_root", "no root is active yet; wait until the server is ready")
        self._judge.clock.rest()  # what lasts from now on is measured from now on
        line, new = await self._successor(kept, old, again=reuse)
        plan = Plan(
            old=old.id,
            new=new,
            automatic=automatic,
            compromised=compromised,
            window=self.config.window if window is None else window,
            started_at=cause.at,
            by=cause.by,
            reason=cause.reason,
        )
        kept = await self.commit(
            kept,
            planning.in_one(
                kept,
                lambda now: planning.renounce(now, twins, cause, version),
                lambda now: planning.adopt_lines(now, [line] if line else [], cause, version),
                lambda now: self._distributed(now, new, cause),
                lambda now: planning.with_plan(now, plan, cause),
            ),
        )
        return kept, next(one for one in kept.records if one.id == new)

    async def check_successor(self, kept: Lifecycle, old: str) -> None:
        """Refuse what `begin` would refuse as no root can follow this one; nothing is made.

        Raises:
            Refused: reason `upstream`: roots are not made here, and none is there that could sign.
            Unavailable: whoever has the roots cannot be asked now.
        """
        signs = await candidates(self._upstream, next(one for one in kept.records if one.id == old))
        if not on_its_way(kept, signs) and all(kept.find(root) for root in signs):
            with telling_why(kept, signs):
                await self._upstream.may_make_root()

    def begins_at(self, kept: Lifecycle) -> datetime | None:
        """When a rotation of the root begins by itself; None for never."""
        active, ahead = kept.active_root, self.config.before_end
        if kept.plan is not None or active is None or ahead is None:
            return None
        return ends_at(active.pem) - ahead

    async def forget(self, kept: Lifecycle, lines: Sequence[Line]) -> None:
        """Delete what was retired at the upstream; what is not known yet is left.

        Raises:
            Unavailable: it cannot be deleted now.
        """
        retired = {record.id for record in kept.of(Kind.ROOT, State.RETIRED)}
        if retired.isdisjoint(certificate_id(line.root) for line in lines):
            return
        before = self._upstream.problem
        there = [certificate_id(line.root) for line in await self._upstream.lines()]  # one may be new since
        self.problem = self.problem or before  # a second look tells only what is wrong with itself
        await self._upstream.forget([root for root in there if root not in retired])

    async def _good(self, kept: Lifecycle, line: Line, *, first: bool) -> bool:
        """Whether a new root may become known; one that is not is told, and nothing changes.

        One that has ended and is only named stops no start: it was good once, and nothing is signed below it.
        """
        id_ = certificate_id(line.root)
        is_over = not line.signs and spent(line.root.not_valid_after_utc, self._clock.now())
        try:
            may_join(kept, line, self._clock.now(), is_over=is_over)
            if line.signs:
                offer = await self._upstream.obtain(id_)
                Slot.prove(replace(offer.material, roots=(line.root,)), self._trust_domain, self._clock.now())
        except ConfigError as error:
            if first and not is_over:
                raise
            log.error("root.refused", root=id_, detail=error.detail)
            self.problem = error
            return False
        return True

    async def _begun_by_itself(self, kept: Lifecycle, named: Named) -> Lifecycle:
        """A rotation that an operator's files or the schedule ask for."""
        now, begins = self._clock.now(), self.begins_at(kept)
        if successor(kept, named) is not None:
            why = "another signer was plugged in"
        elif begins is not None and now >= begins:
            why = "the root ends soon"
        else:
            return kept
        return (await self.begin(kept, Cause(by=OURSELVES, reason=why, at=now)))[0]

    async def _successor(self, kept: Lifecycle, old: Record, *, again: bool) -> tuple[Line | None, str]:
        """A root to rotate to: one on its way already, or a new one; with the key of the old only if asked for."""
        signs = await candidates(self._upstream, old, again=again)
        if waiting := on_its_way(kept, signs):
            return None, waiting[-1].id
        for root, made in signs.items():  # by one who was overtaken, or killed, before it was kept
            if kept.find(root) is None and await self._good(kept, made, first=False):
                return made, root
        with telling_why(kept, signs):
            line = await self._upstream.make_root(same_key=old.id if again else "")
        return line, certificate_id(line.root)

    def _distributed(self, kept: Lifecycle, root: str, cause: Cause) -> Planned:
        """With a root in the bundle.

        Raises:
            Refused: reason `bundle_too_large`.
        """
        record = kept.find(root)
        if record is None or record.state is not State.PREPARED:
            return kept, ()
        room = fits(kept, record)
        if not room.open:
            raise Refused("bundle_too_large", f"{room.why}; retire roots that nobody needs first")
        return planning.distribute(kept, root, replace(cause, guard=room.why), version)

    def window(self, kept: Lifecycle) -> timedelta:
        """Within which leaves below a compromised root are replaced, unless a command says otherwise."""
        return self.config.window if kept.plan is None else kept.plan.window

    async def commit(self, before: Lifecycle, made: Planned) -> Lifecycle:
        """Keep what was planned; raises as `keep`."""
        return await keep(self._store, self._clock, before, made)


def _ourselves(gate: Gate, now: datetime) -> Cause:
    return Cause(by=OURSELVES, guard=gate.told, forced=not gate.open, at=now)
