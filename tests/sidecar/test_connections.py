"""Addresses and durations in Envoy's notation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.sidecar.connections import address, is_address, seconds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(minutes=30), "1800s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(milliseconds=1500), "1.5s"),
        (timedelta(days=1), "86400s"),
    ],
)
def test_seconds(value: timedelta, expected: str) -> None:
    """Durations are seconds, with a fraction only when there is one."""
    assert seconds(value) == expected


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("::1", True), ("payments.shop", False)])
def test_is_address(host: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Addresses need no name resolution."""
    assert is_address(host) is expected


def test_address() -> None:
    """A host and a port are a SocketAddress."""
    assert address("h", 1) == {"socket_address": {"address": "h", "port_value": 1}}
