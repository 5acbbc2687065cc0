"""What an act's message must hold, how dangerous it is, and what it would do, in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.errors import BadRequest, Refused
from meshca.rotation.commands import Asked
from meshca.rotation.report import Forecast, ForecastStep
from meshca.rpc.root_acts import ACTS, window_of
from tests.fakes.clock import FakeClock
from tests.fakes.root_commands import FakeRootCommands

ROOT = "ab" * 32
STOLEN = {"retire", "compromised", "taint", "force"}


def refused(name: str, request: Any) -> str:
    """Why an act's message is refused."""
    with pytest.raises(BadRequest) as caught:
        ACTS[name].check(request)
    return caught.value.reason


def test_every_act_has_a_row() -> None:
    """Whatever answers with an act, but for the approval of one."""
    service = roots_pb2.DESCRIPTOR.services_by_name["Roots"]
    acting = {method.name for method in service.methods if method.output_type.name == "Act"}
    assert set(ACTS) == acting - {"Approve"}


@pytest.mark.parametrize("name", sorted(ACTS))
def test_every_act_says_why(name: str) -> None:
    """It is recorded."""
    assert "reason" in ACTS[name].message.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("root", ["", "ab", ROOT.upper(), f"{ROOT}0", f"{ROOT}\n", "root 1"])
def test_a_root_is_named_by_its_whole_id(root: str) -> None:
    """In the one spelling of it."""
    assert refused("ActivateRoot", roots_pb2.ActivateRootRequest(root=root)) == "root"


def test_a_reason_has_an_end() -> None:
    """It is kept for ever."""
    assert refused("PauseRotation", roots_pb2.PauseRotationRequest(reason="x" * 501)) == "reason"
    ACTS["PauseRotation"].check(roots_pb2.PauseRotationRequest(reason="x" * 500))


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("ActivateRoot", roots_pb2.ActivateRootRequest(root=ROOT, force=True)),
        ("RetireRoot", roots_pb2.RetireRootRequest(root=ROOT, force=True, reason=" ")),
        ("TaintRoot", roots_pb2.TaintRootRequest(root=ROOT)),
        ("RotateRoot", roots_pb2.RotateRootRequest(compromised=True)),
    ],
)
def test_what_is_dangerous_needs_a_reason(name: str, request_: Any) -> None:
    """Blanks are none."""
    assert refused(name, request_) == "reason"


def test_what_is_done_through_an_open_gate_needs_no_reason() -> None:
    """Nobody breaks."""
    ACTS["RetireRoot"].check(roots_pb2.RetireRootRequest(root=ROOT))
    ACTS["PrepareRoot"].check(roots_pb2.PrepareRootRequest())


@pytest.mark.parametrize(
    "window", [Duration(seconds=-1), Duration(seconds=7 * 86400 + 1), Duration(seconds=315_576_000_000)]
)
def test_a_window_is_0_to_7_days(window: Duration) -> None:
    """A tainted key is not trusted for longer."""
    message = roots_pb2.RotateRootRequest(compromised=True, reason="r", window=window)
    assert refused("RotateRoot", message) == "window"


def test_a_window_that_no_timedelta_holds_is_refused() -> None:
    """Whatever protobuf's own library makes of it."""
    message = roots_pb2.RotateRootRequest(compromised=True, reason="r", window=Duration(seconds=2**62))
    assert refused("RotateRoot", message) == "window"


def test_a_window_is_for_a_stolen_key() -> None:
    """A planned rotation has none, and would ignore it."""
    assert refused("RotateRoot", roots_pb2.RotateRootRequest(window=Duration(seconds=60))) == "window"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (roots_pb2.RotateRootRequest(), None),
        (roots_pb2.RotateRootRequest(compromised=True, window=Duration()), timedelta(0)),
        (roots_pb2.RotateRootRequest(compromised=True, window=Duration(seconds=90)), timedelta(seconds=90)),
        (roots_pb2.PauseRotationRequest(), None),
    ],
    ids=["absent", "at once", "some", "cannot"],
)
def test_a_window(request_: Any, expected: timedelta | None) -> None:
    """An absent one is the configured one, and zero is at once."""
    assert window_of(request_) == expected


@pytest.mark.parametrize(
    ("name", "request_", "expected"),
    [
        ("PrepareRoot", roots_pb2.PrepareRootRequest(), set()),
        ("ActivateRoot", roots_pb2.ActivateRootRequest(force=True), {"force"}),
        ("RetireRoot", roots_pb2.RetireRootRequest(), {"retire"}),
        ("RetireRoot", roots_pb2.RetireRootRequest(force=True), {"retire", "force"}),
        ("TaintRoot", roots_pb2.TaintRootRequest(), {"taint", "retire", "force"}),
        ("RotateRoot", roots_pb2.RotateRootRequest(), {"retire"}),
        ("RotateRoot", roots_pb2.RotateRootRequest(compromised=True), STOLEN),
        ("PauseRotation", roots_pb2.PauseRotationRequest(), set()),
        ("PauseRotation", roots_pb2.PauseRotationRequest(compromised=True), STOLEN),
        ("ResumeRotation", roots_pb2.ResumeRotationRequest(), set()),
        ("ResumeRotation", roots_pb2.ResumeRotationRequest(compromised=True), STOLEN),
        ("AbortRotation", roots_pb2.AbortRotationRequest(), set()),
        ("AbortRotation", roots_pb2.AbortRotationRequest(compromised=True), STOLEN),
    ],
)
def test_what_is_dangerous(name: str, request_: Any, expected: set[str]) -> None:
    """By the names of `admin.second_person`."""
    assert ACTS[name].dangers(request_) == expected


@pytest.mark.parametrize(
    ("name", "request_", "expected"),
    [
        ("PrepareRoot", roots_pb2.PrepareRootRequest(), "make a root and distribute it"),
        (
            "RetireRoot",
            roots_pb2.RetireRootRequest(root=ROOT, force=True),
            f"trust no more root {ROOT[:16]} although its gate is closed",
        ),
        (
            "RotateRoot",
            roots_pb2.RotateRootRequest(compromised=True, window=Duration(seconds=300)),
            "rotate the root because its key is not ours alone within 5m",
        ),
        (
            "AbortRotation",
            roots_pb2.AbortRotationRequest(compromised=True),
            "abort the rotation away from a root whose key is not ours alone, which stays trusted",
        ),
    ],
    ids=["plain", "forced", "compromised", "stopped"],
)
def test_in_words(name: str, request_: Any, expected: str) -> None:
    """For the second person."""
    assert ACTS[name].words(request_) == expected


class TestForecast:
    """What each would do, for the second person."""

    async def test_of_an_act_on_a_root(self) -> None:
        """As the commands foresee that act."""
        commands = FakeRootCommands(FakeClock())
        root = await commands.prepare(Asked(by="x"))
        for name, message in (
            ("ActivateRoot", roots_pb2.ActivateRootRequest(root=root.id)),
            ("TaintRoot", roots_pb2.TaintRootRequest(root=root.id)),
            ("RetireRoot", roots_pb2.RetireRootRequest(root=root.id)),
            ("RotateRoot", roots_pb2.RotateRootRequest()),
        ):
            assert await ACTS[name].forecast(commands, message) == commands.foreseen

    @pytest.mark.parametrize("name", ["Pause", "Resume", "Abort"])
    async def test_of_what_is_done_to_a_rotation(self, name: str) -> None:
        """As the commands foresee it; without one it is refused to whoever asks."""
        commands = FakeRootCommands(FakeClock())
        message = getattr(roots_pb2, f"{name}RotationRequest")()
        with pytest.raises(Refused) as caught:
            await ACTS[f"{name}Rotation"].forecast(commands, message)
        assert caught.value.reason == "no_rotation"
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        assert await ACTS[f"{name}Rotation"].forecast(commands, message) == commands.foreseen

    async def test_of_what_breaks_nobody(self) -> None:
        """It in words."""
        found = await ACTS["PrepareRoot"].forecast(FakeRootCommands(FakeClock()), roots_pb2.PrepareRootRequest())
        assert found == Forecast(steps=(ForecastStep(says="make a root and distribute it"),))


class TestStolenRoot:
    """Which root is taken as stolen, in a rotation."""

    @pytest.mark.parametrize(("root", "compromised"), [("ab", True), (ROOT, False)])
    def test_it_is_named_by_its_id_and_for_that_only(self, root: str, *, compromised: bool) -> None:
        """A planned rotation is always away from the one that signs."""
        message = roots_pb2.RotateRootRequest(root=root, compromised=compromised, reason="r")
        assert refused("RotateRoot", message) == "root"

    def test_it_need_not_be_named(self) -> None:
        """Where one signs only."""
        ACTS["RotateRoot"].check(roots_pb2.RotateRootRequest(compromised=True, reason="r"))

    def test_it_is_settled_when_it_is_asked_for(self) -> None:
        """What is approved later is what was shown."""
        state = FakeRootCommands(FakeClock()).state
        asked = roots_pb2.RotateRootRequest(compromised=True, reason="r")
        settled = ACTS["RotateRoot"].settled(state, asked)
        assert settled == roots_pb2.RotateRootRequest(compromised=True, reason="r", root=state.records[0].id)
        words = f"rotate the root {state.records[0].id[:16]} because its key is not ours alone"
        assert ACTS["RotateRoot"].words(settled) == words

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("RotateRoot", roots_pb2.RotateRootRequest(reason="r")),
            ("RetireRoot", roots_pb2.RetireRootRequest(root=ROOT)),
        ],
    )
    def test_other_messages_stay_as_they_are(self, name: str, message: Any) -> None:
        """Nothing is left open in them."""
        assert ACTS[name].settled(FakeRootCommands(FakeClock()).state, message) == message
