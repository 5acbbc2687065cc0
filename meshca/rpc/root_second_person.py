"""Dangerous acts that wait for a second person: kept, approved by somebody else within their time, done once.

What is approved is the message that was asked for, not one that the approver sends. Nobody approves for
themselves, and both must have a role that may do it, at the time when it is done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.history import Lifecycle, Record, Request
from meshca.authority.lifecycle import Act
from meshca.authority.requests import waiting_request
from meshca.authority.straggling import named
from meshca.clock import Clock
from meshca.config.admin import Danger
from meshca.errors import Denied, NotFound, Refused
from meshca.log import log
from meshca.rotation.aim import aimed
from meshca.rotation.commands import Asked, RootCommands
from meshca.rotation.report import Forecast
from meshca.rpc.admin_entry import wish_of
from meshca.rpc.roles import Administrator, People
from meshca.rpc.root_acts import ACTS, asked_by, wish_in

SERVICE: Final = "meshca.admin.v1.Roots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An act that two people wanted, and that is done.

    Attributes:
        root: what it gives.
        warning: who breaks by it beside those whom the approver was shown; empty for nobody.
    """

    root: Record | None
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Who would break, as an approver was shown.

    Attributes:
        breaks: how many.
        names: those of them that were named.
    """

    breaks: int
    names: frozenset[str]

    def surprise(self, now: Forecast) -> str:
        """What would break more, or somebody else, than was shown; who was only counted is not known."""
        if now.breaks > self.breaks:
            return f"{now.breaks} would break by now, {self.breaks} when you were shown"
        others = sorted(now.names - self.names) if len(self.names) == self.breaks else []
        return f"{named(now.by_name[others[0]])} would break by now and was not shown to you" if others else ""


class SecondPerson:
    """The rule of two.

    Args:
        commands: keeps what waits.
        people: who has which role.
        dangers: what needs two; may be empty.
        lifetime: for how long it waits.
        clock: says whether that is over.
        new_id: makes what an approver types.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        *,
        commands: RootCommands,
        people: People,
        dangers: Collection[Danger],
        lifetime: timedelta,
        clock: Clock,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        self._commands = commands
        self._people = people
        self._dangers = frozenset(dangers)
        self._lifetime = lifetime
        self._clock = clock
        self._new_id = new_id

    async def propose(self, name: str, message: Any, person: Administrator) -> Request | None:  # noqa: ANN401 - any act's
        """Keep an act for a second person; None when it needs none.

        Raises:
            NotFound: reason `root`: there is none of this id.
            Refused: reason `too_many_requests`, `gate_closed`, or as what it would do cannot be done.
            Conflict, Unavailable: as the commands.
        """
        act = ACTS[name]
        if not self._needs_two(name, message):
            return None
        lifecycle = await self._commands.lifecycle()
        message = act.settled(lifecycle, message)
        root = getattr(message, "root", "") or _at_hand(lifecycle)
        if lifecycle.find(root) is None:
            raise NotFound("root", f"no root with id {root} is known; see `meshca root list`")
        foreseen = await act.forecast(self._commands, message)
        if foreseen.closed:
            raise Refused("gate_closed", foreseen.closed)
        body, now = message.SerializeToString(deterministic=True), self._clock.now()
        request = Request(
            id=self._new_id(),
            act=name,
            body=body,
            says=act.words(message),
            by=person.name,
            reason=message.reason,
            at=now,
            until=now + self._lifetime,
            breaks=foreseen.breaks,
            urgent=act.is_urgent(message),
            root=root,
        )
        waits = await self._commands.propose(request)
        log.warning("admin.proposed", request=waits.id, act=name, by=person.name, says=waits.says)
        return waits

    async def under_way(self, message: roots_pb2.RotateRootRequest) -> Record | None:
        """The root to which a rotation is under way exactly as it is asked for, so that asking again needs nobody.

        Whoever asks is only told; nothing is begun or changed by it. None also when no two are needed.

        Raises:
            NotFound, Refused: as `aim.aimed`.
            Unavailable: as the commands.
        """
        if not self._needs_two("RotateRoot", message):
            return None
        lifecycle = await self._commands.lifecycle()
        if lifecycle.plan is None or aimed(lifecycle, wish_in(message)).plan != lifecycle.plan:
            return None
        return lifecycle.find(lifecycle.plan.new)

    def _needs_two(self, name: str, message: Any) -> bool:  # noqa: ANN401 - any act's
        return bool(ACTS[name].dangers(message) & self._dangers)

    async def waiting(self) -> Sequence[Request]:
        """What waits and can still be approved.

        Raises:
            Unavailable: as the commands.
        """
        now = self._clock.now()
        return [one for one in (await self._commands.lifecycle()).requests if now < one.until]

    async def forecast(self, id_: str) -> Forecast:
        """What an act that waits would do if it were approved now.

        Raises:
            NotFound: reason `request`.
            Refused, Unavailable: as the commands.
        """
        found = await self._waiting(id_)
        act = ACTS[found.act]
        return await act.forecast(self._commands, act.message.FromString(found.body))

    async def approve(self, id_: str, reason: str, person: Administrator, seen: Seen) -> Approved:
        """Do it now; it waits no more once it is done, and waits on when it is refused.

        A stolen root is replaced although more would break by now than was shown, and that is told: whoever starts
        and ends workloads all the time could otherwise keep it from being approved.

        Args:
            id_: of the request.
            reason: of the approver.
            person: the approver.
            seen: who would break, as the approver was shown.

        Raises:
            NotFound: reason `request`: none waits, its time is over, or somebody was first.
            Denied: reasons `same_person`, `role` and `no_role`: of the approver, or of who asked.
            Refused: reason `consequences`: more or others would break by now; or as the act.
            Conflict, Unavailable: as the commands.
        """
        found = await self._waiting(id_)
        if found.by == person.name:
            raise Denied("same_person", f"{person.name} has asked for it; another administrator must approve it")
        act = ACTS[found.act]
        message = act.message.FromString(found.body)
        wish = wish_of(f"/{SERVICE}/{found.act}", message)
        person.permitted(wish)
        self._people.named(found.by).permitted(wish)
        surprise = seen.surprise(await act.forecast(self._commands, message))
        if surprise and not found.urgent:
            raise Refused("consequences", f"{surprise}; look again before you approve it")
        root = await act.do(self._commands, message, _both(found, message, person, reason))
        facts = {"request": found.id, "act": found.act, "asked_by": found.by, "by": person.name}
        log.warning("admin.approved", **facts, surprise=surprise)
        return Approved(root=root, warning=surprise)

    async def withdraw(self, id_: str, person: Administrator) -> Request:
        """Take back what this person has asked for; gives what it was.

        Raises:
            NotFound: reason `request`.
            Denied: reason `other_person`: somebody else has asked for it.
            Conflict, Unavailable: as the commands.
        """
        found = await self._waiting(id_)
        if found.by != person.name:
            raise Denied("other_person", f"{found.by} has asked for it; a security officer can: meshca deny {id_}")
        await self._commands.end(id_, Act.WITHDRAW, Asked(by=person.name))
        log.warning("admin.withdrawn", request=id_, act=found.act, by=person.name)
        return found

    async def deny(self, id_: str, reason: str, person: Administrator) -> Request:
        """Have what somebody asked for not be done; gives what it was.

        Raises:
            NotFound: reason `request`.
            Conflict, Unavailable: as the commands.
        """
        found = await self._commands.end(id_, Act.DENY, Asked(by=person.name, reason=reason))
        log.warning("admin.denied", request=id_, act=found.act, asked_by=found.by, by=person.name, reason=reason)
        return found

    async def _waiting(self, id_: str) -> Request:
        """One that can still be approved.

        Raises:
            NotFound: reason `request`.
        """
        return waiting_request(await self._commands.lifecycle(), id_, self._clock.now())


def _at_hand(lifecycle: Lifecycle) -> str:
    """The root that is rotated to, or else the one that signs: what an act on no named root is about."""
    if lifecycle.plan is not None:
        return lifecycle.plan.new
    return "" if lifecycle.active_root is None else lifecycle.active_root.id


def _both(request: Request, message: Any, person: Administrator, reason: str) -> Asked:  # noqa: ANN401 - any act's
    why = f"{request.reason}; approved: {reason}" if reason else request.reason
    by = f"{request.by}, approved by {person.name}"
    return replace(asked_by(by, why, message), request=request)
