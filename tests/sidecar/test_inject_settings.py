"""What a pod may choose by its annotations."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.errors import BadRequest
from meshca.sidecar.inject_settings import (
    HEALTH,
    INBOUND,
    INJECT,
    OUTBOUND,
    PROTOCOL,
    Wishes,
    is_wanted,
    ports,
    unknown,
    wishes,
)
from meshca.sidecar.service import AppProtocol, Inbound

PEER = "9001=pay:8443,spiffe://cluster.local/ns/a/sa/b"
DEFAULTS = Wishes(inbound=("1:2",), outbound=(PEER,), protocol="http2", health_path="/d")


@pytest.mark.parametrize(("said", "wanted"), [({}, True), ({INJECT: "true"}, True), ({INJECT: "false"}, False)])
def test_wanted(said: dict[str, Any], wanted: bool) -> None:  # noqa: FBT001 - a row of the table
    """Unless it is declined."""
    assert is_wanted(said) is wanted


@pytest.mark.parametrize("said", ["no", "", "False", False, None])
def test_neither_yes_nor_no(said: Any) -> None:
    """Kubernetes takes text only, and a slip must not inject."""
    with pytest.raises(BadRequest, match='expected "true" or "false", in quotes'):
        is_wanted({INJECT: said})


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ({}, DEFAULTS),
        ({INBOUND: "3:4\n5:6  "}, Wishes(inbound=("3:4", "5:6"), protocol="http2", health_path="/d")),
        ({OUTBOUND: PEER}, Wishes(outbound=(PEER,), protocol="http2", health_path="/d")),
        ({INBOUND: ""}, Wishes(protocol="http2", health_path="/d")),
        ({PROTOCOL: "http1", HEALTH: "/h"}, Wishes(inbound=("1:2",), outbound=(PEER,), health_path="/h")),
    ],
    ids=["nothing", "inbound", "outbound", "none", "details"],
)
def test_choices(said: dict[str, Any], chosen: Wishes) -> None:
    """Who names ports of one direction chooses for both."""
    assert wishes(said, DEFAULTS) == (chosen, {})


def test_numbers_are_no_text() -> None:
    """The API server would refuse them as well, only later."""
    assert wishes({INBOUND: 8443}, DEFAULTS)[1] == {INBOUND: "expected text; write numbers and booleans in quotes"}


def test_ports() -> None:
    """As Envoy gets them."""
    opened, problems = ports(Wishes(inbound=("1:2",), outbound=(PEER,), protocol="http2", health_path="/h"), "::")
    wanted = Inbound(port=1, app_port=2, address="::", app_protocol=AppProtocol.HTTP2, health_path="/h")
    assert (opened.inbound, [item.host for item in opened.outbound], problems) == ((wanted,), ["pay"], {})


def test_every_problem() -> None:
    """With the annotation that it stands in, and what is wrong there."""
    _, problems = ports(Wishes(inbound=("1", "x"), outbound=("y",), protocol="http3", health_path="h"), "::")
    assert {key: len(found) for key, found in problems.items()} == {
        PROTOCOL: 1,
        HEALTH: 1,
        INBOUND: 2,
        OUTBOUND: 1,
    }
    assert problems[INBOUND][0] == "1: expected PORT:APP_PORT, such as 8443:8080"
    assert problems[PROTOCOL] == ["http3: expected http1 or http2"]


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("meshca.io/inbounds", INBOUND),
        ("meshca.io/Outbound", OUTBOUND),
        ("meshca.io/config", None),
        ("example.org/inbound", None),
        (INBOUND, None),
        ("meshca.io/injected", None),
    ],
)
def test_slips_of_the_pen(key: str, near: str | None) -> None:
    """What looks like ours and is not; what is plainly another's is left alone."""
    assert unknown({key: ""}) == ({key: near} if near else {})
