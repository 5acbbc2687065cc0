"""A dangerous act is done when another administrator approves it: once, in its time, by the roles that may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.gate import Gate, Straggler
from meshca.authority.history import Request
from meshca.authority.lifecycle import State
from meshca.authority.requests import MAX_OF_ONE
from meshca.config.admin import AdminConfig, AdminRole, Danger
from meshca.errors import Denied, MeshcaError, NotFound, Refused
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast
from meshca.rpc.roles import People
from meshca.rpc.root_second_person import Approved, SecondPerson, Seen
from tests.fakes.clock import FakeClock
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.roots import WEB, workload

EVERY: Sequence[Danger] = ("force", "compromised", "retire", "taint")
LIFETIME = timedelta(minutes=15)
CONFIG = AdminConfig(uids=(1, 2), roles=(AdminRole(role="operator", uids=(3,)),))


NOBODY = Seen(breaks=0, names=frozenset())
WEB_1 = f"{WEB} in web-1"


class Rig:
    """Two security officers (uid 1 and 2), an operator (uid 3), and one root that is retiring."""

    def __init__(self, dangers: Sequence[Danger] = EVERY) -> None:
        self.clock = FakeClock()
        self.commands = FakeRootCommands(self.clock)
        self.people = People(CONFIG, 0)
        self.rule = SecondPerson(
            commands=self.commands, people=self.people, dangers=dangers, lifetime=LIFETIME, clock=self.clock
        )
        (root,) = self.commands.state.records
        self.commands.state = replace(self.commands.state, records=(replace(root, state=State.RETIRING),))
        self.root = root.id

    async def propose(self, uid: int = 1, *, force: bool = False, reason: str = "old") -> Request:
        """Somebody wants to retire the root."""
        message = roots_pb2.RetireRootRequest(root=self.root, reason=reason, force=force)
        found = await self.rule.propose("RetireRoot", message, self.people.named(f"uid {uid}"))
        assert found is not None
        return found

    async def approve(self, id_: str, uid: int = 2, reason: str = "", seen: Seen = NOBODY) -> Approved:
        """Somebody approves."""
        return await self.rule.approve(id_, reason, self.people.named(f"uid {uid}"), seen)

    @property
    def done(self) -> list[tuple[str, Asked]]:
        """What was done, without which request that was."""
        return [(what, replace(asked, request=None)) for what, asked in self.commands.asked]

    async def refusal(self, id_: str, uid: int) -> tuple[type[MeshcaError], str]:
        """Why somebody may not."""
        with pytest.raises(MeshcaError) as caught:
            await self.approve(id_, uid)
        return type(caught.value), caught.value.reason


@pytest.fixture
def rig() -> Rig:
    """Everything dangerous needs two."""
    return Rig()


async def test_what_is_asked_for_is_kept(rig: Rig) -> None:
    """With who, what, why, and until when."""
    found = await rig.propose()
    assert await rig.rule.waiting() == [found]
    assert (found.by, found.act, found.reason) == ("uid 1", "RetireRoot", "old")
    assert found.says == f"trust no more root {rig.root[:16]}"
    assert (found.at, found.until) == (rig.clock.now(), rig.clock.now() + LIFETIME)
    assert rig.commands.asked == []


@pytest.mark.parametrize(
    ("dangers", "kept"),
    [((), False), (("taint",), False), (("force",), True), (("retire",), True)],
    ids=str,
)
async def test_only_what_is_configured_needs_two(dangers: Sequence[Danger], *, kept: bool) -> None:
    """A forced retirement is dangerous twice."""
    rig = Rig(dangers)
    message = roots_pb2.RetireRootRequest(root=rig.root, reason="old", force=True)
    found = await rig.rule.propose("RetireRoot", message, rig.people.named("uid 1"))
    assert (found is not None) is kept


async def test_an_unknown_root_is_told_at_once(rig: Rig) -> None:
    """Not to the second person."""
    rig.root = "ff" * 32
    with pytest.raises(NotFound) as caught:
        await rig.propose()
    assert caught.value.reason == "root"


async def test_what_cannot_be_done_is_told_at_once() -> None:
    """Not to the second person."""
    rig = Rig()
    rig.commands.state = replace(rig.commands.state, records=FakeRootCommands(rig.clock).state.records)
    rig.root = rig.commands.state.records[0].id
    with pytest.raises(Refused) as caught:
        await rig.propose()
    assert caught.value.reason == "transition"


async def test_requests_are_bounded(rig: Rig) -> None:
    """They are part of the state."""
    for number in range(MAX_OF_ONE):
        await rig.propose(reason=str(number))
    with pytest.raises(Refused) as caught:
        await rig.propose(reason="one more")
    assert caught.value.reason == "too_many_requests"


async def test_whoever_asks_twice_wants_it_once(rig: Rig) -> None:
    """What waits is told; for another reason, by another or after its time it is another wish."""
    found = await rig.propose()
    assert (await rig.propose(), await rig.rule.waiting()) == (found, [found])
    others = [await rig.propose(reason="new"), await rig.propose(3)]
    rig.clock.move(LIFETIME.total_seconds())
    others.append(await rig.propose())
    assert len({found.id, *(one.id for one in others)}) == 4


async def test_a_closed_gate_is_told_at_once(rig: Rig) -> None:
    """Not to the second person."""
    rig.commands.foreseen = Forecast(steps=(), closed="retire of root 1 is not safe now: web-1 holds one")
    with pytest.raises(Refused, match="web-1 holds one") as caught:
        await rig.propose()
    assert (caught.value.reason, await rig.rule.waiting()) == ("gate_closed", [])


async def test_it_is_about_the_root_that_is_named_or_rotated_to(rig: Rig) -> None:
    """So the history of that root has it."""
    assert (await rig.propose()).root == rig.root
    rig.commands.state = FakeRootCommands(rig.clock).state
    anna = rig.people.named("uid 1")
    begin = await rig.rule.propose("RotateRoot", roots_pb2.RotateRootRequest(), anna)
    new = await rig.commands.rotate(Asked(by="x"), compromised=True, window=None)
    stop = await rig.rule.propose("AbortRotation", roots_pb2.AbortRotationRequest(compromised=True), anna)
    assert begin is not None
    assert stop is not None
    active = rig.commands.state.active_root
    assert active is not None
    assert (begin.root, stop.root) == (active.id, new.id)


async def test_another_may_approve(rig: Rig) -> None:
    """The message that was asked for is done, by both, with both reasons."""
    found = await rig.propose(force=True)
    assert await rig.approve(found.id, reason="I looked") == Approved(root=None)
    both = Asked(by="uid 1, approved by uid 2", reason="old; approved: I looked", force=True)
    assert rig.done == [("retire", both)]
    assert await rig.rule.waiting() == []


async def test_what_is_refused_then_waits_on(rig: Rig) -> None:
    """It can be approved again, once what it lacked is there."""
    found = await rig.propose()
    rig.commands.gate = Gate(open=False, ready=0, of=1, why="web-1 holds one")
    assert await rig.refusal(found.id, 2) == (Refused, "gate_closed")
    assert await rig.rule.waiting() == [found]


async def test_the_same_person_may_not(rig: Rig) -> None:
    """However often they ask; the request goes on waiting."""
    found = await rig.propose()
    assert await rig.refusal(found.id, 1) == (Denied, "same_person")
    assert await rig.rule.waiting() == [found]


async def test_who_may_not_do_it_may_not_approve_it(rig: Rig) -> None:
    """A forced act needs a security officer."""
    found = await rig.propose(force=True)
    assert await rig.refusal(found.id, 3) == (Denied, "role")
    assert await rig.refusal(found.id, 9) == (Denied, "no_role")


async def test_who_asked_must_still_have_a_role(rig: Rig) -> None:
    """A server may have been started again with others."""
    found = await rig.propose()
    rig.rule._people = People(replace_uids(2), 0)
    assert await rig.refusal(found.id, 2) == (Denied, "no_role")


def replace_uids(*uids: int) -> AdminConfig:
    """Only these."""
    return AdminConfig(uids=uids)


async def test_it_is_done_once(rig: Rig) -> None:
    """The second approval finds nothing."""
    found = await rig.propose()
    await rig.approve(found.id)
    assert await rig.refusal(found.id, 2) == (NotFound, "request")


async def test_of_two_who_approve_at_once_one_does_it(rig: Rig) -> None:
    """The other is told."""
    found = await rig.propose(3)
    results = await asyncio.gather(rig.approve(found.id, 1), rig.approve(found.id, 2), return_exceptions=True)
    assert sum(isinstance(result, NotFound) for result in results) == 1
    assert sum(isinstance(result, Approved) for result in results) == 1


async def test_its_time_ends(rig: Rig) -> None:
    """To the second."""
    found = await rig.propose()
    rig.clock.move(LIFETIME.total_seconds())
    assert await rig.rule.waiting() == []
    assert await rig.refusal(found.id, 2) == (NotFound, "request")


async def test_it_can_be_approved_until_then(rig: Rig) -> None:
    """One second before."""
    found = await rig.propose()
    rig.clock.move(LIFETIME.total_seconds() - 1)
    await rig.approve(found.id)
    assert rig.done[-1][1].by == "uid 1, approved by uid 2"


async def test_ids_cannot_be_guessed(rig: Rig) -> None:
    """And are short enough to be typed."""
    ids = {(await rig.propose(reason=str(number))).id for number in range(3)}
    assert [len(ids), {len(one) for one in ids}] == [3, {8}]


@pytest.mark.parametrize(("compromised", "urgent"), [(False, False), (True, True)])
async def test_what_is_asked_for_because_of_a_theft_is_urgent(
    rig: Rig, *, compromised: bool, urgent: bool
) -> None:
    """It has room whatever else waits."""
    rig.commands.state = FakeRootCommands(rig.clock).state
    message = roots_pb2.RotateRootRequest(reason="old", compromised=compromised)
    found = await rig.rule.propose("RotateRoot", message, rig.people.named("uid 1"))
    assert found is not None
    assert found.urgent is urgent


@pytest.mark.parametrize(("act", "urgent"), [("Pause", False), ("Resume", True), ("Abort", False)])
async def test_what_keeps_a_stolen_root_trusted_is_not_urgent(rig: Rig, act: str, *, urgent: bool) -> None:
    """Only what has it go."""
    rig.commands.state = FakeRootCommands(rig.clock).state
    await rig.commands.rotate(Asked(by="x"), compromised=True, window=None)
    message = getattr(roots_pb2, f"{act}RotationRequest")(compromised=True, reason="old")
    found = await rig.rule.propose(f"{act}Rotation", message, rig.people.named("uid 1"))
    assert found is not None
    assert found.urgent is urgent


def foreseen(*pods: str, unnamed: int = 0) -> Forecast:
    """Workloads of these pods would break, and some more."""
    losers = tuple(Straggler(workload=workload(pod), why="holds one") for pod in pods)
    return Forecast(steps=(), losers=losers, unnamed=unnamed)


@pytest.mark.parametrize(
    ("seen", "now"),
    [
        (Seen(breaks=1, names=frozenset({WEB_1})), foreseen("web-1", "web-2")),
        (Seen(breaks=1, names=frozenset({WEB_1})), foreseen("web-2")),
        (Seen(breaks=2, names=frozenset({WEB_1})), foreseen("web-1", unnamed=2)),
        (NOBODY, foreseen("web-1")),
    ],
    ids=["more", "another", "more-that-are-not-named", "somebody"],
)
async def test_nobody_breaks_who_was_not_shown(rig: Rig, seen: Seen, now: Forecast) -> None:
    """It waits on, and the approver looks again."""
    found = await rig.propose()
    rig.commands.foreseen = now
    with pytest.raises(Refused, match="look again before you approve it") as caught:
        await rig.approve(found.id, seen=seen)
    assert (caught.value.reason, rig.done) == ("consequences", [])
    assert await rig.rule.waiting() == [found]


async def test_a_stolen_root_is_replaced_although_others_break_than_were_shown(rig: Rig) -> None:
    """Whoever starts and ends pods all the time does not keep it in use; the approver is told."""
    rig.commands.state = FakeRootCommands(rig.clock).state
    message = roots_pb2.RotateRootRequest(reason="stolen", compromised=True)
    found = await rig.rule.propose("RotateRoot", message, rig.people.named("uid 1"))
    assert found is not None
    rig.commands.foreseen = foreseen("web-1", "web-2")
    approved = await rig.approve(found.id)
    assert approved.warning == "2 would break by now, 0 when you were shown"
    assert [what for what, _ in rig.done] == ["prepare"]


@pytest.mark.parametrize(
    ("seen", "now"),
    [
        (Seen(breaks=2, names=frozenset({WEB_1, f"{WEB} in web-2"})), foreseen("web-1")),
        (Seen(breaks=2, names=frozenset({WEB_1})), foreseen("web-2", unnamed=1)),
        (NOBODY, foreseen()),
    ],
    ids=["fewer", "some-were-only-counted", "nobody"],
)
def test_who_was_shown_may_break(seen: Seen, now: Forecast) -> None:
    """That is what was approved; of those that were only counted nobody is known."""
    assert seen.surprise(now) == ""


def test_somebody_else_is_named_harmlessly() -> None:
    """A pod's name may be its agent's own word: a quotation whose end it cannot forge, without controls."""
    seen = Seen(breaks=1, names=frozenset({WEB_1}))
    name = r'"x\x1b[2J\" would break"'
    surprise = f"{WEB} in {name} would break by now and was not shown to you"
    assert seen.surprise(foreseen('x\x1b[2J" would break')) == surprise
