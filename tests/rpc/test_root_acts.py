"""What an act's message must hold, how dangerous it is, and what it would do, in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.errors import BadRequest
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
    assert refused("RotateRoot", roots_pb2.RotateRootRequest(window=window)) == "window"


def test_a_window_that_no_timedelta_holds_is_refused() -> None:
    """Whatever protobuf's own library makes of it."""
    assert refused("RotateRoot", roots_pb2.RotateRootRequest(window=Duration(seconds=2**62))) == "window"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (roots_pb2.RotateRootRequest(), None),
        (roots_pb2.RotateRootRequest(window=Duration()), timedelta(0)),
        (roots_pb2.RotateRootRequest(window=Duration(seconds=90)), timedelta(seconds=90)),
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
            "rotate the root because the key of the active one is not ours alone within 5m",
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
            ("ResumeRotation", roots_pb2.ResumeRotationRequest()),
        ):
            assert await ACTS[name].forecast(commands, message) == commands.foreseen

    async def test_of_what_breaks_nobody(self) -> None:
        """It in words, with the rotation that is under way."""
        commands = FakeRootCommands(FakeClock())
        await commands.rotate(Asked(by="x"), compromised=False, window=None)
        found = await ACTS["PauseRotation"].forecast(commands, roots_pb2.PauseRotationRequest())
        step = ForecastStep(says="pause the rotation")
        assert found == Forecast(steps=(step,), plan=commands.state.plan)
