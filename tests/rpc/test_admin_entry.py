"""Nobody's message reaches a handler of the administrator's services before its sender may send it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.errors import Denied
from meshca.rpc.admin_entry import Entered, Permitted, wish_of
from meshca.rpc.roles import Administrator, Held, Role, Sight, Wish
from meshca.wire.interceptors import Call, _current
from meshca.wire.open_calls import Context
from tests.fakes.logs import captured_logs

ROOTS = "meshca.admin.v1.Roots"
NOBODY = cast("Context", None)
VIEWER = Administrator("uid 7", (Held(Role.VIEWER),))
OPERATOR = Administrator("uid 8", (Held(Role.OPERATOR),))


class Service:
    """Remembers who entered."""

    def __init__(self) -> None:
        self.entered: list[Entered] = []

    async def ListRoots(self, request: object, entered: Entered) -> str:  # noqa: N802 - the proto's name
        """Answers."""
        self.entered.append(entered)
        return "roots"

    async def PauseRotation(self, request: object, entered: Entered) -> str:  # noqa: N802 - as above
        """Acts."""
        self.entered.append(entered)
        return "paused"

    async def WatchRotation(self, request: object, entered: Entered) -> AsyncIterator[int]:  # noqa: N802 - as above
        """Streams."""
        self.entered.append(entered)
        for number in range(2):
            yield number

    async def Unheard(self, request: object, entered: Entered) -> None:  # noqa: N802 - as above
        """Has no row."""


@pytest.fixture(autouse=True)
def _call() -> None:
    _current.set(Call("0123456789abcdef", "/x/y"))


def entrance(service: Service, person: Administrator) -> Any:
    """A service that somebody calls."""
    return Permitted(service, ROOTS, lambda _: person)


async def test_a_handler_is_told_who_calls() -> None:
    """And what they may see."""
    service = Service()
    answer = await entrance(service, VIEWER).ListRoots(roots_pb2.ListRootsRequest(), NOBODY)
    assert (answer, service.entered) == ("roots", [Entered(VIEWER, Sight(None))])


async def test_a_stream_is_told_who_calls() -> None:
    """As a call is."""
    service = Service()
    stream = entrance(service, VIEWER).WatchRotation(roots_pb2.WatchRotationRequest(), NOBODY)
    assert ([one async for one in stream], service.entered) == ([0, 1], [Entered(VIEWER, Sight(None))])


async def test_who_may_not_does_not_reach_the_handler() -> None:
    """The role is not enough."""
    service = Service()
    with pytest.raises(Denied):
        await entrance(service, VIEWER).PauseRotation(roots_pb2.PauseRotationRequest(), NOBODY)
    assert service.entered == []


async def test_a_stranger_begins_no_stream() -> None:
    """Nor any call."""
    service = Service()
    stranger = Administrator("uid 9", ())
    with pytest.raises(Denied):
        await anext(entrance(service, stranger).WatchRotation(roots_pb2.WatchRotationRequest(), NOBODY))
    assert service.entered == []


def test_an_rpc_without_a_row_is_not_served() -> None:
    """Registering it fails, so it is noticed before anybody can call it."""
    with pytest.raises(LookupError, match="/Unheard has no row"):
        _ = entrance(Service(), VIEWER).Unheard


async def test_acts_are_logged_with_who_asked() -> None:
    """Questions are not."""
    with captured_logs() as logs:
        await entrance(Service(), OPERATOR).ListRoots(roots_pb2.ListRootsRequest(), NOBODY)
        await entrance(Service(), OPERATOR).PauseRotation(roots_pb2.PauseRotationRequest(), NOBODY)
    told = [(line["method"], line["by"]) for line in logs if line["event"] == "admin.asked"]
    assert told == [(f"/{ROOTS}/PauseRotation", "uid 8")]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (roots_pb2.RetireRootRequest(force=True), Wish(rpc="/r", force=True)),
        (roots_pb2.RotateRootRequest(compromised=True), Wish(rpc="/r", compromised=True)),
        (roots_pb2.PauseRotationRequest(), Wish(rpc="/r")),
    ],
    ids=["force", "compromised", "neither"],
)
def test_what_a_message_wants(request_: Any, expected: Wish) -> None:
    """As it says itself."""
    assert wish_of("/r", request_) == expected
