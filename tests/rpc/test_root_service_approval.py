"""Acts on roots that a second person approves: what waits, who may end it, and whose consequences were shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.config.admin import AdminConfig
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import straggler
from tests.rpc.root_calls import ME, OWN, active, refusal


async def test_the_reason_of_an_approval_has_an_end(stub: Any) -> None:
    """As that of an act."""
    call = stub.Approve(roots_pb2.ApproveRequest(id="x", reason="x" * 501))
    assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "reason")


class TestTwoPersons:
    """This user asks; another one, who is this user's colleague, approves."""

    @pytest.fixture
    def config(self) -> AdminConfig:
        """A retirement needs two."""
        return AdminConfig(uids=(OWN, OWN + 1), second_person=("retire",))

    async def test_the_act_waits(self, stub: Any, commands: FakeRootCommands) -> None:
        """It is answered with what waits, which is listed, and not done."""
        found = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        listed = await stub.ListRequests(roots_pb2.ListRequestsRequest())
        assert not found.HasField("root")
        assert list(listed.requests) == [found.waiting]
        assert commands.asked == []

    async def test_a_rotation_under_way_needs_nobody_to_go_on(self, stub: Any, commands: FakeRootCommands) -> None:
        """It ends by retiring a root, so beginning it needs two; asking again begins nothing."""
        waits = await stub.RotateRoot(roots_pb2.RotateRootRequest())
        assert waits.HasField("waiting")
        made = await commands.rotate(Asked(by="x"), compromised=False, window=None)
        asked = list(commands.asked)
        again = await stub.RotateRoot(roots_pb2.RotateRootRequest())
        assert (again.root.id, again.HasField("waiting"), commands.asked) == (made.id, False, asked)

    @pytest.mark.parametrize("how", ["paused", "by-hand", "slower"])
    async def test_a_rotation_that_would_go_on_otherwise_needs_two(
        self, stub: Any, commands: FakeRootCommands, how: str
    ) -> None:
        """Nobody is told that it goes on while nothing does: a stolen root would stay trusted."""
        await commands.rotate(Asked(by="x"), compromised=True, window=timedelta(seconds=60))
        changes: dict[str, Any] = {"paused": {"paused": True}, "by-hand": {"automatic": False}, "slower": {}}[how]
        assert commands.state.plan is not None
        commands.state = replace(commands.state, plan=replace(commands.state.plan, **changes))
        window = Duration(seconds=0 if how == "slower" else 60)
        message = roots_pb2.RotateRootRequest(compromised=True, reason="stolen", window=window)
        asked = list(commands.asked)
        found = await stub.RotateRoot(message)
        assert (found.HasField("waiting"), commands.asked) == (True, asked)
        (waits,) = commands.state.requests
        assert roots_pb2.RotateRootRequest.FromString(waits.body).root == active(commands)

    async def test_what_is_refused_waits_for_nobody(self, stub: Any, commands: FakeRootCommands) -> None:
        """The second person is not asked for it."""
        call = stub.AbortRotation(roots_pb2.AbortRotationRequest(compromised=True, reason="mistaken"))
        assert (await refusal(call))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "no_rotation")
        assert commands.state.requests == ()

    async def test_one_takes_back_what_one_has_asked_for(self, stub: Any, commands: FakeRootCommands) -> None:
        """And nobody else's."""
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        found = await stub.WithdrawRequest(roots_pb2.WithdrawRequestRequest(id=asked.waiting.id))
        assert (found, commands.state.requests) == (asked.waiting, ())
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        commands.state = replaced(commands, by=f"uid {OWN + 1}")
        call = stub.WithdrawRequest(roots_pb2.WithdrawRequestRequest(id=asked.waiting.id))
        assert (await refusal(call))[:2] == (grpc.StatusCode.PERMISSION_DENIED, "other_person")
        assert len(commands.state.requests) == 1

    async def test_what_somebody_asked_for_is_denied(self, stub: Any, commands: FakeRootCommands) -> None:
        """With a reason."""
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        commands.state = replaced(commands, by=f"uid {OWN + 1}")
        for reason in (" ", "x" * 501):
            call = stub.DenyRequest(roots_pb2.DenyRequestRequest(id=asked.waiting.id, reason=reason))
            assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "reason")
        found = await stub.DenyRequest(roots_pb2.DenyRequestRequest(id=asked.waiting.id, reason="not now"))
        assert (found.by, commands.state.requests) == (f"uid {OWN + 1}", ())
        call = stub.DenyRequest(roots_pb2.DenyRequestRequest(id=asked.waiting.id, reason="not now"))
        assert (await refusal(call))[:2] == (grpc.StatusCode.NOT_FOUND, "request")

    async def test_a_compromise_found_meanwhile_needs_two(self, stub: Any, commands: FakeRootCommands) -> None:
        """It is another rotation than the one under way."""
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        found = await stub.RotateRoot(roots_pb2.RotateRootRequest(compromised=True, reason="stolen"))
        assert found.HasField("waiting")

    @pytest.mark.parametrize("name", ["Pause", "Resume", "Abort"])
    async def test_stopping_the_replacement_of_a_stolen_root_needs_two(
        self, stub: Any, commands: FakeRootCommands, name: str
    ) -> None:
        """As beginning it does; what is waited for is not done."""
        await commands.rotate(Asked(by="x"), compromised=True, window=None)
        asked = list(commands.asked)
        message = getattr(roots_pb2, f"{name}RotationRequest")(reason="mistaken", compromised=True)
        found = await getattr(stub, f"{name}Rotation")(message)
        assert (found.HasField("waiting"), commands.asked) == (True, asked)

    async def test_what_is_approved_is_foretold(self, stub: Any, commands: FakeRootCommands) -> None:
        """As it is now, beside what it was when it was asked for."""
        commands.foreseen = Forecast(steps=(), losers=(straggler(),))
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        commands.foreseen = Forecast(steps=(), losers=(straggler(), straggler()))
        found = await stub.ForecastAct(roots_pb2.ForecastActRequest(request=asked.waiting.id))
        assert (asked.waiting.breaks, len(found.losers)) == (1, 2)
        call = stub.ForecastAct(roots_pb2.ForecastActRequest(request="ffff"))
        assert (await refusal(call))[:2] == (grpc.StatusCode.NOT_FOUND, "request")

    async def test_it_is_not_done_when_more_would_break_than_were_shown(
        self, stub: Any, commands: FakeRootCommands
    ) -> None:
        """FAILED_PRECONDITION with both numbers; it waits on."""
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        commands.state = replaced(commands, by=f"uid {OWN + 1}")
        commands.foreseen = Forecast(steps=(), losers=(straggler(),), unnamed=1)
        call = stub.Approve(roots_pb2.ApproveRequest(id=asked.waiting.id, breaks=1))
        assert await refusal(call) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "consequences",
            b"2 would break by now, 1 when you were shown; look again before you approve it",
        )
        await stub.Approve(roots_pb2.ApproveRequest(id=asked.waiting.id, breaks=2))
        assert commands.state.requests == ()

    async def test_who_asked_cannot_approve(self, stub: Any, commands: FakeRootCommands) -> None:
        """PERMISSION_DENIED."""
        asked = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="old"))
        call = stub.Approve(roots_pb2.ApproveRequest(id=asked.waiting.id))
        assert (await refusal(call))[:2] == (grpc.StatusCode.PERMISSION_DENIED, "same_person")

    async def test_another_does_it(self, stub: Any, commands: FakeRootCommands) -> None:
        """By both names, once."""
        new = (await stub.PrepareRoot(roots_pb2.PrepareRootRequest())).root.id
        old = active(commands)
        await stub.ActivateRoot(roots_pb2.ActivateRootRequest(root=new))
        asked = await stub.RetireRoot(roots_pb2.RetireRootRequest(root=old, reason="old"))
        (kept,) = commands.state.requests
        commands.state = replaced(commands, by=f"uid {OWN + 1}")
        await stub.Approve(roots_pb2.ApproveRequest(id=asked.waiting.id))
        what, by = commands.asked[-1]
        assert (what, by.by, by.reason) == ("retire", f"uid {OWN + 1}, approved by {ME}", "old")
        assert (kept.by, commands.state.requests) == (ME, ())


def replaced(commands: FakeRootCommands, *, by: str) -> Any:
    """As if somebody else had asked: one process is one user."""
    (kept,) = commands.state.requests
    return replace(commands.state, requests=(replace(kept, by=by),))
