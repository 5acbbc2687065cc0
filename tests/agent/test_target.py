"""Addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.agent.target import Target
from meshca.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost:15012", "localhost", 15012),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:15012", "::1", 15012),
        ("istiod.istio-system.svc:65535", "istiod.istio-system.svc", 65535),
    ],
)
def test_an_address_reads_and_writes_the_same(text: str, host: str, port: int) -> None:
    """parse(str(x)) == x."""
    target = Target.parse(text)
    assert (target.host, target.port) == (host, port)
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "localhost:", ":1", "::1:1", "a b:1", "a:65536", "a:-1", "a:1\n", "https://a:1", "a:1/b"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(BadRequest, match="host:port"):
        Target.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """And an address writes itself as one."""
    try:
        target = Target.parse(text)
    except BadRequest:
        return
    assert Target.parse(str(target)) == target
