"""What the command line asks a running server about roots, as values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Literal

import grpc

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from meshca.app.admin_answer import DEADLINE_SECONDS, answer, explained
from meshca.authority.history import Bundle, Change, Record, Request
from meshca.rotation.report import Forecast, RootReport
from meshca.rpc.root_messages import (
    Answer,
    Exported,
    answer_of,
    authority_of,
    bundle_of,
    change_of,
    exported_of,
    request_of,
)
from meshca.rpc.root_report_messages import forecast_of, report_of
from meshca.rpc.timestamps import duration


class RootClient:
    """`meshca.admin.v1.Roots` as values.

    Every method raises what the server raised: `Refused`, `Conflict`, `Denied`, `NotFound`, `BadRequest`; and
    `Unavailable` when it cannot answer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = RootsStub(channel)  # the generated stub knows synchronous channels only

    async def report(self) -> RootReport:
        """How the roots stand."""
        return report_of(await self._ask(self._stub.GetRootStatus, roots_pb2.GetRootStatusRequest()))

    async def records(self, *, intermediates: bool = False) -> Sequence[Record]:
        """What is kept, oldest first."""
        request = roots_pb2.ListRootsRequest(intermediates=intermediates)
        found = await self._ask(self._stub.ListRoots, request)
        return [authority_of(one) for one in found.authorities]

    async def changes(self, *, authority: str = "", limit: int = 0) -> Sequence[Change]:
        """What was done, newest first."""
        request = roots_pb2.ListChangesRequest(authority=authority, limit=limit)
        return [change_of(one) for one in (await self._ask(self._stub.ListChanges, request)).changes]

    async def export(self, sequence: int | None = None) -> Exported:
        """A bundle; the one in force when no sequence is named."""
        request = roots_pb2.ExportBundleRequest(sequence=sequence)
        return exported_of(await self._ask(self._stub.ExportBundle, request))

    async def forecast(
        self, *, compromised: bool = False, window: timedelta | None = None, root: str = ""
    ) -> Forecast:
        """What a rotation would do."""
        request = roots_pb2.ForecastRotationRequest(compromised=compromised, window=duration(window), root=root)
        return forecast_of(await self._ask(self._stub.ForecastRotation, request))

    async def foresee(
        self, act: Literal["activate", "taint", "retire"], root: str, reason: str, window: timedelta | None = None
    ) -> Forecast:
        """What an act would do that is forced, or goes past a gate when its window ends."""
        request = roots_pb2.ForecastActRequest()
        match act:
            case "activate":
                request.activate.MergeFrom(roots_pb2.ActivateRootRequest(root=root, reason=reason, force=True))
            case "taint":
                taint = roots_pb2.TaintRootRequest(root=root, reason=reason, window=duration(window))
                request.taint.MergeFrom(taint)
            case _:
                request.retire.MergeFrom(roots_pb2.RetireRootRequest(root=root, reason=reason, force=True))
        return forecast_of(await self._ask(self._stub.ForecastAct, request))

    async def foresee_request(self, request: str) -> Forecast:
        """What one that waits for a second person would do if it were approved now."""
        asked = roots_pb2.ForecastActRequest(request=request)
        return forecast_of(await self._ask(self._stub.ForecastAct, asked))

    async def bundles(self) -> Sequence[Bundle]:
        """Which roots were given out, the newest last."""
        found = await self._ask(self._stub.ListRoots, roots_pb2.ListRootsRequest())
        return [bundle_of(one) for one in found.bundles]

    async def prepare(self, *, same_key: bool, reason: str) -> Answer:
        """Make a root and begin to distribute it."""
        return await self._act(
            self._stub.PrepareRoot, roots_pb2.PrepareRootRequest(same_key=same_key, reason=reason)
        )

    async def activate(self, root: str, *, force: bool, reason: str) -> Answer:
        """Sign below it."""
        request = roots_pb2.ActivateRootRequest(root=root, force=force, reason=reason)
        return await self._act(self._stub.ActivateRoot, request)

    async def taint(self, root: str, *, window: timedelta | None, reason: str) -> Answer:
        """Have every leaf below it replaced."""
        request = roots_pb2.TaintRootRequest(root=root, window=duration(window), reason=reason)
        return await self._act(self._stub.TaintRoot, request)

    async def retire(self, root: str, *, force: bool, reason: str) -> Answer:
        """Trust it no more."""
        request = roots_pb2.RetireRootRequest(root=root, force=force, reason=reason)
        return await self._act(self._stub.RetireRoot, request)

    async def rotate(self, *, compromised: bool, window: timedelta | None, reason: str, root: str = "") -> Answer:
        """Begin a rotation, or go on with it; a root is named when its key is stolen."""
        request = roots_pb2.RotateRootRequest(
            compromised=compromised, window=duration(window), reason=reason, root=root
        )
        return await self._act(self._stub.RotateRoot, request)

    async def pause(self, *, compromised: bool, reason: str) -> Answer:
        """Take no step by itself."""
        request = roots_pb2.PauseRotationRequest(compromised=compromised, reason=reason)
        return await self._act(self._stub.PauseRotation, request)

    async def resume(self, *, compromised: bool, reason: str) -> Answer:
        """Take steps again."""
        request = roots_pb2.ResumeRotationRequest(compromised=compromised, reason=reason)
        return await self._act(self._stub.ResumeRotation, request)

    async def abort(self, *, compromised: bool, reason: str) -> Answer:
        """Go back."""
        request = roots_pb2.AbortRotationRequest(compromised=compromised, reason=reason)
        return await self._act(self._stub.AbortRotation, request)

    async def requests(self) -> Sequence[Request]:
        """What waits for a second person."""
        found = await self._ask(self._stub.ListRequests, roots_pb2.ListRequestsRequest())
        return [request_of(one) for one in found.requests]

    async def approve(self, request: str, *, reason: str, shown: Forecast) -> Answer:
        """Do what somebody else has asked for; refused when more or others would break than were shown."""
        names = sorted(shown.names)
        message = roots_pb2.ApproveRequest(id=request, reason=reason, breaks=shown.breaks, shown=names)
        return await self._act(self._stub.Approve, message)

    async def withdraw(self, request: str) -> Request:
        """Take back what one has asked for oneself; gives what it was."""
        return request_of(
            await self._ask(self._stub.WithdrawRequest, roots_pb2.WithdrawRequestRequest(id=request))
        )

    async def deny(self, request: str, *, reason: str) -> Request:
        """Have what somebody asked for not be done; gives what it was."""
        message = roots_pb2.DenyRequestRequest(id=request, reason=reason)
        return request_of(await self._ask(self._stub.DenyRequest, message))

    async def watch(self) -> AsyncIterator[RootReport]:
        """How the roots stand, now and whenever that has changed, until the server ends the stream."""
        with explained():
            async for message in self._stub.WatchRotation(roots_pb2.WatchRotationRequest()):
                yield report_of(message)

    async def _ask(self, method: Any, request: Any) -> Any:  # noqa: ANN401 - any call and message
        return await answer(method(request, timeout=DEADLINE_SECONDS))

    async def _act(self, method: Any, request: Any) -> Answer:  # noqa: ANN401 - any acting call and message
        return answer_of(await self._ask(method, request))
