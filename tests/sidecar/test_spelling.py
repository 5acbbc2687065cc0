"""How ports and peers are spelt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshca.errors import BadRequest
from meshca.sidecar.service import AppProtocol, Inbound
from meshca.sidecar.spelling import parse_host_port, parse_inbound, parse_outbound
from tests.sidecar.services import INBOUND, ME, OUTBOUND, PAYMENTS


def test_inbound() -> None:
    """A port for peers and the application's behind it."""
    assert parse_inbound("8443:8080") == INBOUND


def test_inbound_details() -> None:
    """What is said beside it."""
    wanted = Inbound(port=1, app_port=2, address="::", app_protocol=AppProtocol.HTTP2, health_path="/h")
    assert parse_inbound("1:2", address="::", protocol=AppProtocol.HTTP2, health_path="/h") == wanted


def test_outbound() -> None:
    """A loopback port, a place and an identity."""
    assert parse_outbound("9001=payments.shop:8443,spiffe://cluster.local/ns/shop/sa/payments") == OUTBOUND


def test_outbound_identities() -> None:
    """Several, any of which will do."""
    assert parse_outbound(f"9001=payments.shop:8443,{PAYMENTS},{ME}").identities == (PAYMENTS, ME)


@pytest.mark.parametrize(("text", "place"), [("a.b:1", ("a.b", 1)), ("[::1]:2", ("::1", 2))])
def test_host_port(text: str, place: tuple[str, int]) -> None:
    """A name or an address."""
    assert parse_host_port(text) == place


@pytest.mark.parametrize(
    ("parse", "text", "problem"),
    [
        (parse_inbound, "8443", "expected PORT:APP_PORT"),
        (parse_inbound, "8443:8080 ", "expected PORT:APP_PORT"),
        (parse_inbound, "70000:1", "the inbound port must be"),
        (parse_inbound, "1:0", "the application port must be"),
        (parse_outbound, "9001", "expected PORT=HOST:PORT,SPIFFE-ID"),
        (parse_outbound, "9001=a:1", "expected PORT=HOST:PORT,SPIFFE-ID"),
        (parse_outbound, f"9001=a,{ME}", "expected HOST:PORT"),
        (parse_outbound, f"70000=a:1,{ME}", "outbound listening port must be"),
        (parse_outbound, f"1=a:0,{ME}", "port of the other service must be"),
        (parse_outbound, "9001=a:1,web", "a SPIFFE ID must begin"),
        (parse_host_port, "::1:1", "expected HOST:PORT"),
    ],
)
def test_refusals(parse: Callable[[str], object], text: str, problem: str) -> None:
    """Each says what was expected."""
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert problem in caught.value.detail
