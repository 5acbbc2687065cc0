"""The administrator's service for roots, over a real socket, with commands in memory."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.gate import LEFT_BEHIND
from meshca.config.admin import AdminConfig, AdminRole
from meshca.errors import InvariantBroken
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rpc.roles import Sight
from meshca.rpc.root_messages import change_message
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import PAY, WEB, change, gate, straggler
from tests.rpc.root_calls import ME, OWN, active, refusal


async def test_status(stub: Any, commands: FakeRootCommands) -> None:
    """How the roots stand."""
    found = await stub.GetRootStatus(roots_pb2.GetRootStatusRequest())
    assert [one.record.id for one in found.authorities] == [active(commands)]


async def test_roots_are_listed(stub: Any, commands: FakeRootCommands) -> None:
    """Oldest first; intermediates only when asked for."""
    made = await commands.prepare(Asked(by="x"))
    found = await stub.ListRoots(roots_pb2.ListRootsRequest())
    assert [one.id for one in found.authorities] == [active(commands), made.id]
    every = await stub.ListRoots(roots_pb2.ListRootsRequest(intermediates=True))
    assert len(every.authorities) == len(commands.state.records)


async def test_changes_are_listed(stub: Any, commands: FakeRootCommands) -> None:
    """Newest first, as many as asked for, of one root when it is named."""
    old = active(commands)
    made = await commands.prepare(Asked(by="x"))
    await commands.activate(Asked(by="x"), made.id)
    newest, before = commands.log[::-1]
    for asked, expected in (
        ({}, [newest, before]),
        ({"limit": 1}, [newest]),
        ({"authority": old}, [newest]),
        ({"authority": made.id, "limit": 5}, [before]),
    ):
        found = await stub.ListChanges(roots_pb2.ListChangesRequest(**asked))
        assert list(found.changes) == [change_message(one, Sight(None)) for one in expected]


async def test_who_sees_all_reads_who_was_left_behind(stub: Any, commands: FakeRootCommands) -> None:
    """As it is kept, however that is written."""
    commands.log = [change(guard=f"2 hold one{LEFT_BEHIND}{PAY}")]
    found = await stub.ListChanges(roots_pb2.ListChangesRequest())
    assert [one.guard for one in found.changes] == [f"2 hold one{LEFT_BEHIND}{PAY}"]


async def test_changes_have_a_limit(stub: Any) -> None:
    """A history is kept for ever."""
    found = await refusal(stub.ListChanges(roots_pb2.ListChangesRequest(limit=10_001)))
    assert found[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "limit")


async def test_a_bundle_in_both_of_its_forms(stub: Any, commands: FakeRootCommands) -> None:
    """The one in force, or one that was given out before."""
    first = commands.state.records[0].pem
    made = await commands.prepare(Asked(by="x"))
    found = await stub.ExportBundle(roots_pb2.ExportBundleRequest())
    assert (found.sequence, found.pem) == (2, first + made.pem)
    assert json.loads(found.spiffe_json)["spiffe_sequence"] == 2
    before = await stub.ExportBundle(roots_pb2.ExportBundleRequest(sequence=1))
    assert (before.sequence, before.pem) == (1, first)


async def test_a_bundle_that_was_never_given_out(stub: Any) -> None:
    """NOT_FOUND; zero is a number like others."""
    call = stub.ExportBundle(roots_pb2.ExportBundleRequest(sequence=0))
    assert (await refusal(call))[:2] == (grpc.StatusCode.NOT_FOUND, "bundle")


async def test_a_forecast(stub: Any, commands: FakeRootCommands) -> None:
    """What the commands foresee."""
    commands.foreseen = Forecast(steps=(ForecastStep(says="now"),), losers=(straggler(),))
    found = await stub.ForecastRotation(roots_pb2.ForecastRotationRequest())
    assert ([one.says for one in found.steps], found.losers[0].workload.pod) == (["now"], "web-1")


async def test_a_forecast_of_a_wrong_window(stub: Any) -> None:
    """INVALID_ARGUMENT."""
    call = stub.ForecastRotation(roots_pb2.ForecastRotationRequest(window=Duration(seconds=-1)))
    assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "window")


@pytest.mark.parametrize("field", ["root", "window"])
async def test_a_forecast_of_what_is_only_for_a_stolen_key(stub: Any, field: str) -> None:
    """Is refused as the rotation would be."""
    named = {"root": "ab" * 32} if field == "root" else {"window": Duration(seconds=60)}
    call = stub.ForecastRotation(roots_pb2.ForecastRotationRequest(**named))
    assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_forecast_of_an_act(stub: Any, commands: FakeRootCommands) -> None:
    """Of that act, whatever the next step of a rotation is."""
    new = (await stub.PrepareRoot(roots_pb2.PrepareRootRequest())).root.id
    commands.foreseen = Forecast(steps=(ForecastStep(says="now"),), losers=(straggler(),))
    request = roots_pb2.ForecastActRequest(activate=roots_pb2.ActivateRootRequest(root=new))
    found = await stub.ForecastAct(request)
    assert ([one.says for one in found.steps], found.losers[0].workload.pod) == (["now"], "web-1")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (roots_pb2.ForecastActRequest(), "act"),
        (roots_pb2.ForecastActRequest(retire=roots_pb2.RetireRootRequest(root="x")), "root"),
        (roots_pb2.ForecastActRequest(taint=roots_pb2.TaintRootRequest(root="x" * 64)), "reason"),
    ],
    ids=["none", "wrong", "without a reason"],
)
async def test_a_wrong_forecast_of_an_act(stub: Any, request_: Any, reason: str) -> None:
    """INVALID_ARGUMENT, as the act itself."""
    assert (await refusal(stub.ForecastAct(request_)))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_rotation_away_from_a_stolen_key_is_not_stopped_in_passing(
    stub: Any, commands: FakeRootCommands
) -> None:
    """FAILED_PRECONDITION until it is said that the key is stolen; and then it is done."""
    await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="stolen", compromised=True))
    call = stub.AbortRotation(roots_pb2.AbortRotationRequest(reason="mistaken"))
    assert (await refusal(call))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "compromised")
    await stub.AbortRotation(roots_pb2.AbortRotationRequest(reason="mistaken", compromised=True))
    assert commands.asked[-1] == ("abort", Asked(by=ME, reason="mistaken", compromised=True))


async def test_every_act_is_done_by_who_asked(stub: Any, commands: FakeRootCommands) -> None:
    """With the reason."""
    old = active(commands)
    new = (await stub.PrepareRoot(roots_pb2.PrepareRootRequest(reason="a"))).root.id
    await stub.ActivateRoot(roots_pb2.ActivateRootRequest(root=new, reason="b"))
    await stub.TaintRoot(roots_pb2.TaintRootRequest(root=old, reason="c"))
    await stub.RetireRoot(roots_pb2.RetireRootRequest(root=old, reason="d", force=True))
    rotated = await stub.RotateRoot(roots_pb2.RotateRootRequest(reason="e"))
    await stub.PauseRotation(roots_pb2.PauseRotationRequest(reason="f"))
    await stub.ResumeRotation(roots_pb2.ResumeRotationRequest(reason="g"))
    await stub.AbortRotation(roots_pb2.AbortRotationRequest(reason="h"))
    assert rotated.root.state == "distributing"
    assert commands.asked == [
        (what, Asked(by=ME, reason=reason, force=reason == "d"))
        for what, reason in (
            ("prepare", "a"),
            ("activate", "b"),
            ("taint", "c"),
            ("retire", "d"),
            ("prepare", "e"),
            ("pause", "f"),
            ("resume", "g"),
            ("abort", "h"),
        )
    ]


async def test_a_closed_gate_is_told_with_who_would_break(stub: Any, commands: FakeRootCommands) -> None:
    """FAILED_PRECONDITION; administrators see the detail."""
    new = (await stub.PrepareRoot(roots_pb2.PrepareRootRequest())).root.id
    commands.gate = gate(why="web-1 does not trust it")
    assert await refusal(stub.ActivateRoot(roots_pb2.ActivateRootRequest(root=new))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "gate_closed",
        b"web-1 does not trust it",
    )


async def test_an_unknown_root(stub: Any) -> None:
    """NOT_FOUND."""
    call = stub.ActivateRoot(roots_pb2.ActivateRootRequest(root="ff" * 32))
    assert (await refusal(call))[:2] == (grpc.StatusCode.NOT_FOUND, "root")


async def test_a_wrong_request_is_refused_before_anything_is_asked(stub: Any, commands: FakeRootCommands) -> None:
    """INVALID_ARGUMENT."""
    call = stub.RetireRoot(roots_pb2.RetireRootRequest(root="x"))
    assert (await refusal(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "root")
    assert commands.asked == []


async def test_a_store_that_is_down(stub: Any, commands: FakeRootCommands) -> None:
    """UNAVAILABLE, with its cause."""
    commands.down = True
    call = stub.GetRootStatus(roots_pb2.GetRootStatusRequest())
    assert await refusal(call) == (grpc.StatusCode.UNAVAILABLE, "store", b"the fake is down")


class TestWhoMayNot:
    """This user is a viewer of one namespace."""

    @pytest.fixture
    def config(self) -> AdminConfig:
        """Somebody else administers."""
        viewer = AdminRole(role="viewer", uids=(OWN,), namespaces=("pay",))
        return AdminConfig(uids=(OWN + 1,), roles=(viewer,))

    async def test_acts_are_denied(self, stub: Any, commands: FakeRootCommands) -> None:
        """PERMISSION_DENIED, and nothing is done."""
        call = stub.PrepareRoot(roots_pb2.PrepareRootRequest())
        assert (await refusal(call))[:2] == (grpc.StatusCode.PERMISSION_DENIED, "role")
        assert commands.asked == []

    async def test_stragglers_of_other_namespaces_are_counted(self, stub: Any, commands: FakeRootCommands) -> None:
        """In the status, in the forecast, and while watching."""
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        commands.gate = gate()
        commands.foreseen = Forecast(steps=(), losers=(straggler(),))
        status = await stub.GetRootStatus(roots_pb2.GetRootStatusRequest())
        forecast = await stub.ForecastRotation(roots_pb2.ForecastRotationRequest())
        watched = await stub.WatchRotation(roots_pb2.WatchRotationRequest()).read()
        assert [len(status.gate.stragglers), status.gate.unnamed] == [0, 1]
        assert [len(watched.gate.stragglers), watched.gate.unnamed] == [0, 1]
        assert [len(forecast.losers), forecast.unnamed] == [0, 1]

    async def test_in_the_history_too(self, stub: Any, commands: FakeRootCommands) -> None:
        """Those that a step left behind are named only where this user may see them."""
        commands.log = [change(guard=f'2 hold one{LEFT_BEHIND}{WEB} in "web-1", {PAY} in "card-1"')]
        found = await stub.ListChanges(roots_pb2.ListChangesRequest())
        assert [one.guard for one in found.changes] == [f'2 hold one{LEFT_BEHIND}{PAY} in "card-1" and 1 more']


async def test_a_root_that_no_jwk_holds_tells_nothing(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL, without a detail: it is our own fault."""

    def broken(*_: object) -> str:
        raise InvariantBroken("jwk", "secret")

    monkeypatch.setattr("meshca.rpc.root_service.spiffe_bundle", broken)
    found = await refusal(stub.ExportBundle(roots_pb2.ExportBundleRequest()))
    assert found == (grpc.StatusCode.INTERNAL, None, None)
