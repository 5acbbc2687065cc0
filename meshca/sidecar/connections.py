"""Small pieces of Envoy configuration that both directions use: addresses and durations."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any


def address(host: str, port: int) -> dict[str, Any]:
    """An Envoy SocketAddress."""
    return {"socket_address": {"address": host, "port_value": port}}


def seconds(value: timedelta) -> str:
    """A protobuf Duration in JSON: seconds with at most millisecond digits."""
    return f"{value.total_seconds():.3f}".rstrip("0").rstrip(".") + "s"


def is_address(host: str) -> bool:
    """Whether a host is an IP address and needs no name resolution."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
