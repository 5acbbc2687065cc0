"""The administrator's service for roots, over a real socket, with commands in memory."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from meshca.authority.gate import LEFT_BEHIND
from meshca.clock import SystemClock
from meshca.config.admin import AdminConfig, AdminRole
from meshca.errors import InvariantBroken, Unavailable
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rpc.admin_entry import Entered
from meshca.rpc.roles import Administrator, Held, Role, Sight
from meshca.rpc.root_messages import change_message
from meshca.rpc.root_second_person import SecondPerson
from meshca.rpc.root_service import WATCH_SECONDS, Roots
from meshca.wire.status import DETAIL, REASON
from tests.fakes.admin_server import admin_server
from tests.fakes.clock import FakeClock
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import PAY, WEB, change, gate, straggler

OWN = os.geteuid()
ME = f"uid {OWN}"


@pytest.fixture
def commands() -> FakeRootCommands:
    """One root."""
    return FakeRootCommands(SystemClock())


@pytest.fixture
def config() -> AdminConfig:
    """This user may do everything."""
    return AdminConfig(uids=(OWN,))


@pytest.fixture
async def stub(commands: FakeRootCommands, config: AdminConfig) -> AsyncIterator[Any]:
    """A client of the service."""
    serving = admin_server(roots=commands, config=config)
    async with serving as path, grpc.aio.insecure_channel(f"unix:{path}") as channel:
        yield RootsStub(channel)


def active(commands: FakeRootCommands) -> str:
    """The id of the root that signs."""
    found = commands.state.active_root
    assert found is not None
    return found.id


async def refusal(call: Any) -> tuple[grpc.StatusCode, object, object]:
    """Code, reason and detail of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    told = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), told.get(REASON), told.get(DETAIL)


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


class TestWatching:
    """By a clock of the test."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Moved by hand."""
        return FakeClock()

    @pytest.fixture
    def commands(self, clock: FakeClock) -> FakeRootCommands:
        """One root."""
        return FakeRootCommands(clock)

    def watching(self, commands: FakeRootCommands, clock: FakeClock) -> Callable[[], AsyncIterator[Any]]:
        """Begins to watch, as often as it is called."""
        people: Any = None  # nobody acts
        rule = SecondPerson(
            commands=commands, people=people, dangers=(), lifetime=AdminConfig().request_lifetime, clock=clock
        )
        roots = Roots(commands, rule, clock)
        entered = Entered(Administrator("uid 1", (Held(Role.VIEWER),)), Sight(None))
        return lambda: roots.WatchRotation(roots_pb2.WatchRotationRequest(), entered)

    async def test_changes_are_told_at_most_twice_a_second(
        self, commands: FakeRootCommands, clock: FakeClock
    ) -> None:
        """And nothing is told while nothing changes, though time goes on and workloads are heard of."""
        told: list[int] = []

        async def watch() -> None:
            async for status in self.watching(commands, clock)():
                told.append(status.generation)  # noqa: PERF401 - it is looked at meanwhile

        task = asyncio.create_task(watch())
        await clock.advance(0)
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        commands.gate = gate()
        await clock.advance(WATCH_SECONDS)
        commands.gate = gate(stragglers=(straggler(seen_at=clock.now()),))
        await clock.advance(10 * WATCH_SECONDS)
        assert told == [1, 3]
        commands.down = True
        await clock.advance(WATCH_SECONDS)
        with pytest.raises(Unavailable, match="the fake is down"):
            await task

    async def test_many_who_watch_look_once(self, commands: FakeRootCommands, clock: FakeClock) -> None:
        """What a look costs does not grow with those who are curious."""
        looks: list[float] = []
        report = commands.report

        async def counted() -> Any:
            looks.append(clock.monotonic())
            return await report()

        commands.report = counted  # type: ignore[method-assign] # counts
        begin = self.watching(commands, clock)
        seen = [(await anext(begin())).generation for _ in range(20)]
        assert (seen, looks) == ([1] * 20, [0.0])
        clock.move(WATCH_SECONDS)
        await anext(begin())
        assert looks == [0.0, WATCH_SECONDS]

    async def test_a_look_that_fails_when_nobody_watches_any_more(
        self, commands: FakeRootCommands, clock: FakeClock
    ) -> None:
        """Is nobody's to hear of: the one who began it is gone."""
        commands.down = True

        async def watch() -> None:
            await anext(self.watching(commands, clock)())

        task = asyncio.create_task(watch())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await clock.advance(0)


async def test_a_root_that_no_jwk_holds_tells_nothing(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """INTERNAL, without a detail: it is our own fault."""

    def broken(*_: object) -> str:
        raise InvariantBroken("jwk", "secret")

    monkeypatch.setattr("meshca.rpc.root_service.spiffe_bundle", broken)
    found = await refusal(stub.ExportBundle(roots_pb2.ExportBundleRequest()))
    assert found == (grpc.StatusCode.INTERNAL, None, None)
