"""The administrator's service for roots: reads messages, asks the commands, writes messages.

Only ever registered through `admin_entry.Permitted`: it has no authentication of its own. What needs a second
person is kept instead of done, whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.history import Kind
from meshca.authority.spiffe_bundle import spiffe_bundle
from meshca.clock import Clock
from meshca.errors import BadRequest
from meshca.rotation.commands import RootCommands
from meshca.rotation.report import RootReport
from meshca.rpc.admin_entry import Entered
from meshca.rpc.root_acts import ACTS, MAX_REASON, asked_by, wish_in
from meshca.rpc.root_messages import (
    Answer,
    Exported,
    answer_message,
    authority_message,
    bundle_message,
    change_message,
    exported_message,
    request_message,
)
from meshca.rpc.root_report_messages import forecast_message, report_message
from meshca.rpc.root_second_person import SecondPerson, Seen

DEFAULT_CHANGES: Final = 100
MAX_CHANGES: Final = 10_000
FORESEEN: Final = {"activate": "ActivateRoot", "retire": "RetireRoot", "taint": "TaintRoot"}
WATCH_SECONDS: Final = 0.5  # between two looks


class Roots:
    """`meshca.admin.v1.Roots`.

    Args:
        commands: what can be asked of the roots.
        second_person: the rule of two.
        clock: between two looks of somebody who watches.
    """

    def __init__(self, commands: RootCommands, second_person: SecondPerson, clock: Clock) -> None:
        self._commands = commands
        self._second_person = second_person
        self._clock = clock
        self._looking: asyncio.Task[RootReport] | None = None
        self._looked_at = 0.0

    async def GetRootStatus(  # noqa: N802 - the proto's name
        self, _request: roots_pb2.GetRootStatusRequest, entered: Entered
    ) -> roots_pb2.RootStatus:
        """How the roots stand."""
        return report_message(await self._commands.report(), entered.sight)

    async def ListRoots(  # noqa: N802 - as above
        self, request: roots_pb2.ListRootsRequest, _entered: Entered
    ) -> roots_pb2.ListRootsResponse:
        """What is kept."""
        lifecycle = await self._commands.lifecycle()
        records = lifecycle.records if request.intermediates else lifecycle.of(Kind.ROOT)
        return roots_pb2.ListRootsResponse(
            authorities=[authority_message(one) for one in records],
            bundles=[bundle_message(one) for one in lifecycle.bundles],
        )

    async def ListChanges(  # noqa: N802 - as above
        self, request: roots_pb2.ListChangesRequest, entered: Entered
    ) -> roots_pb2.ListChangesResponse:
        """What was done, newest first.

        Raises:
            BadRequest: reason `limit`.
        """
        limit = request.limit or DEFAULT_CHANGES
        if limit > MAX_CHANGES:
            raise BadRequest("limit", f"limit must be 1 to {MAX_CHANGES}")
        found = await self._commands.changes(MAX_CHANGES if request.authority else limit)
        wanted = [one for one in found if request.authority in {"", one.authority}]
        shown = [change_message(one, entered.sight) for one in wanted[:limit]]
        return roots_pb2.ListChangesResponse(changes=shown)

    async def ExportBundle(  # noqa: N802 - as above
        self, request: roots_pb2.ExportBundleRequest, _entered: Entered
    ) -> roots_pb2.ExportBundleResponse:
        """A bundle in both of its forms.

        Raises:
            NotFound: it is not remembered.
        """
        bundle, records = await self._commands.bundle(request.sequence if request.HasField("sequence") else None)
        pems = [one.pem for one in records]
        document = spiffe_bundle(bundle.sequence, pems)
        return exported_message(Exported(bundle=bundle, pem="".join(pems), spiffe_json=document))

    async def ForecastRotation(  # noqa: N802 - as above
        self, request: roots_pb2.ForecastRotationRequest, entered: Entered
    ) -> roots_pb2.Forecast:
        """What a rotation would do.

        Raises:
            BadRequest: reason `window`.
            NotFound, Refused, Unavailable: as the commands.
        """
        wish = wish_in(request)
        found = await self._commands.forecast(compromised=wish.compromised, window=wish.window, root=wish.root)
        return forecast_message(found, entered.sight)

    async def ForecastAct(  # noqa: N802 - as above
        self, request: roots_pb2.ForecastActRequest, entered: Entered
    ) -> roots_pb2.Forecast:
        """What another act would do, or one that waits for a second person.

        Raises:
            BadRequest: reason `act`, or what is wrong with it in itself.
            NotFound: reason `request`.
            Refused, Unavailable: as the commands.
        """
        name = request.WhichOneof("act")
        if name is None:
            raise BadRequest("act", "act must be set: request, activate, retire or taint")
        if name == "request":
            return forecast_message(await self._second_person.forecast(request.request), entered.sight)
        act, message = ACTS[FORESEEN[name]], getattr(request, name)
        act.check(message)
        return forecast_message(await act.forecast(self._commands, message), entered.sight)

    async def WatchRotation(  # noqa: N802 - as above
        self, _request: roots_pb2.WatchRotationRequest, entered: Entered
    ) -> AsyncIterator[roots_pb2.RootStatus]:
        """How the roots stand, now and whenever that has changed."""
        shown = b""
        while True:
            message = report_message(await self._look(), entered.sight)
            if (essence := _essence(message)) != shown:
                shown = essence
                yield message
            await self._clock.sleep(WATCH_SECONDS)

    async def ListRequests(  # noqa: N802 - as above
        self, _request: roots_pb2.ListRequestsRequest, _entered: Entered
    ) -> roots_pb2.ListRequestsResponse:
        """What waits for a second person."""
        waiting = await self._second_person.waiting()
        return roots_pb2.ListRequestsResponse(requests=[request_message(one) for one in waiting])

    async def Approve(  # noqa: N802 - as above
        self, request: roots_pb2.ApproveRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Do what another administrator has asked for.

        Raises:
            BadRequest: reason `reason`.
            NotFound, Denied, Refused: as `SecondPerson.approve`.
        """
        if len(request.reason) > MAX_REASON:
            raise BadRequest("reason", f"reason must be at most {MAX_REASON} characters")
        seen = Seen(breaks=request.breaks, names=frozenset(request.shown))
        approved = await self._second_person.approve(request.id, request.reason, entered.person, seen)
        return answer_message(Answer(root=approved.root, warning=approved.warning))

    async def WithdrawRequest(  # noqa: N802 - as above
        self, request: roots_pb2.WithdrawRequestRequest, entered: Entered
    ) -> roots_pb2.Request:
        """Take back what one has asked for oneself.

        Raises:
            NotFound, Denied: as `SecondPerson.withdraw`.
        """
        return request_message(await self._second_person.withdraw(request.id, entered.person))

    async def DenyRequest(  # noqa: N802 - as above
        self, request: roots_pb2.DenyRequestRequest, entered: Entered
    ) -> roots_pb2.Request:
        """Have what somebody asked for not be done.

        Raises:
            BadRequest: reason `reason`.
            NotFound: as `SecondPerson.deny`.
        """
        if not 0 < len(request.reason.strip()) <= MAX_REASON:
            raise BadRequest("reason", f"reason must say why it is denied, in at most {MAX_REASON} characters")
        return request_message(await self._second_person.deny(request.id, request.reason, entered.person))

    async def PrepareRoot(  # noqa: N802 - as above
        self, request: roots_pb2.PrepareRootRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Make a root and begin to distribute it."""
        return await self._act("PrepareRoot", request, entered)

    async def ActivateRoot(  # noqa: N802 - as above
        self, request: roots_pb2.ActivateRootRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Sign below it from now on."""
        return await self._act("ActivateRoot", request, entered)

    async def TaintRoot(  # noqa: N802 - as above
        self, request: roots_pb2.TaintRootRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Have every leaf below it replaced."""
        return await self._act("TaintRoot", request, entered)

    async def RetireRoot(  # noqa: N802 - as above
        self, request: roots_pb2.RetireRootRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Trust it no more."""
        return await self._act("RetireRoot", request, entered)

    async def RotateRoot(  # noqa: N802 - as above
        self, request: roots_pb2.RotateRootRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Begin the whole rotation, or go on with it."""
        ACTS["RotateRoot"].check(request)
        under_way = await self._second_person.under_way(request)
        if under_way is not None:
            return answer_message(Answer(root=under_way))
        return await self._act("RotateRoot", request, entered)

    async def PauseRotation(  # noqa: N802 - as above
        self, request: roots_pb2.PauseRotationRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Take no step by itself."""
        return await self._act("PauseRotation", request, entered)

    async def ResumeRotation(  # noqa: N802 - as above
        self, request: roots_pb2.ResumeRotationRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Take steps again."""
        return await self._act("ResumeRotation", request, entered)

    async def AbortRotation(  # noqa: N802 - as above
        self, request: roots_pb2.AbortRotationRequest, entered: Entered
    ) -> roots_pb2.Act:
        """Go back."""
        return await self._act("AbortRotation", request, entered)

    async def _look(self) -> RootReport:
        """How the roots stand; looked up at most twice a second, however many watch."""
        now = self._clock.monotonic()
        if self._looking is None or (self._looking.done() and now - self._looked_at >= WATCH_SECONDS):
            self._looked_at = now
            self._looking = asyncio.create_task(self._commands.report())
            self._looking.add_done_callback(_heard)
        return await asyncio.shield(self._looking)

    async def _act(self, name: str, request: Any, entered: Entered) -> roots_pb2.Act:  # noqa: ANN401 - any act's
        """Do it, or keep it for a second person.

        Raises:
            BadRequest: the request is wrong in itself.
            Refused, Conflict, NotFound, Unavailable: as the commands.
        """
        act = ACTS[name]
        act.check(request)
        waiting = await self._second_person.propose(name, request, entered.person)
        if waiting is not None:
            return answer_message(Answer(waiting=waiting))
        asked = asked_by(entered.person.name, request.reason, request)
        return answer_message(Answer(root=await act.do(self._commands, request, asked)))


def _heard(task: asyncio.Task[RootReport]) -> None:
    """An error is told to whoever still watches; perhaps nobody does."""
    if not task.cancelled():
        task.exception()


def _essence(message: roots_pb2.RootStatus) -> bytes:
    """What must differ to be worth telling: not when somebody was seen, which moves with the clock."""
    essence = roots_pb2.RootStatus()
    essence.CopyFrom(message)
    if essence.HasField("fleet"):
        essence.fleet.ClearField("seen_since")
        essence.fleet.ClearField("oldest_seen")
    for straggler in essence.gate.stragglers if essence.HasField("gate") else ():
        straggler.workload.ClearField("seen_at")
    return essence.SerializeToString(deterministic=True)
