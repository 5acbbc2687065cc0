"""Addresses as Istio writes them."""

from __future__ import annotations

import pytest

from meshca.doctor.address import Address
from meshca.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("meshca.istio-system.svc:15012", "meshca.istio-system.svc", 15012),
        ("https://meshca:443", "meshca", 443),
        ("https://meshca:443/", "meshca", 443),
        ("[::1]:15012", "::1", 15012),
    ],
)
def test_read(text: str, host: str, port: int) -> None:
    """With and without a scheme; its own spelling reads back."""
    address = Address.parse(text)
    assert address == Address(host=host, port=port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "meshca", "meshca:", ":1", "meshca:65536", "a b:1", "meshca:1/path", "\nx:1"]
)
def test_refused(text: str) -> None:
    """Anything else."""
    with pytest.raises(BadRequest, match="expected host:port"):
        Address.parse(text)
