"""Small pieces of Envoy configuration that several parts use: addresses, names and durations."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any


def address(host: str, port: int) -> dict[str, Any]:
    """An Envoy SocketAddress."""
    return {"socket_address": {"address": host, "port_value": port}}


def authority(host: str, port: int) -> str:
    """A host and a port as a URI has them: an address of version 6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def distinct(names: Iterable[str]) -> list[str]:
    """The same names, the second of a kind with #2 behind it, and so on: Envoy wants each name once."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}#{seen[name]}" if seen[name] > 1 else name)
    return numbered


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
