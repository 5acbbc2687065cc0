"""Addresses and durations in Envoy's notation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.sidecar.connections import address, authority, distinct, is_address, seconds


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


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "127.0.0.1:1"), ("::1", "[::1]:1"), ("ca.mesh", "ca.mesh:1")]
)
def test_authority(host: str, expected: str) -> None:
    """An address of version 6 needs brackets, or its end reads as the port."""
    assert authority(host, 1) == expected


def test_distinct() -> None:
    """Only repeated names get a number."""
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


def test_address() -> None:
    """A host and a port are a SocketAddress."""
    assert address("h", 1) == {"socket_address": {"address": "h", "port_value": 1}}
