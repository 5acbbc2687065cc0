"""The whole bootstrap; that a real Envoy takes it is in test_bootstrap_real.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AdminPort, AdminSocket
from tests.sidecar.services import INBOUND, OUTBOUND, service


def test_is_plain_json() -> None:
    """Nothing but JSON types, and the same service gives the same bootstrap."""
    assert json.loads(json.dumps(build(service()))) == build(service())


@pytest.mark.parametrize(("given", "expected"), [("", "web.shop"), ("pod-7", "pod-7")])
def test_node(given: str, expected: str) -> None:
    """Envoy tells its source who it is: a given name, or the service's."""
    assert build(service(node_id=given))["node"] == {"id": expected, "cluster": "web.shop"}


def test_every_port_is_there() -> None:
    """One listener and one cluster for each port, and the agent's cluster."""
    static = build(service())["static_resources"]
    assert [item["name"] for item in static["listeners"]] == [
        "inbound-8443-8080",
        "outbound-9001-payments.shop-8443",
    ]
    assert [item["name"] for item in static["clusters"]] == [
        "meshca-agent",
        "app-8443-8080",
        "outbound-9001-payments.shop-8443",
    ]


def test_no_administration_unless_asked() -> None:
    """Without an address there is no administration page."""
    assert "admin" not in build(service())


@pytest.mark.parametrize(
    ("admin", "address"),
    [
        (AdminPort(port=15000), {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}),
        (AdminSocket(path=Path("/a.sock")), {"pipe": {"path": "/a.sock", "mode": 0o600}}),
    ],
)
def test_administration_is_local_and_only_read(admin: Any, address: dict[str, Any]) -> None:
    """The page is on loopback or a private socket, and what changes or ends Envoy is not on it."""
    built = build(service(admin=admin))["admin"]
    allowed = tuple(item["prefix"] for item in built["allow_paths"])
    assert built["address"] == address
    assert not "/quitquitquit".startswith(allowed)
    assert not "/runtime_modify".startswith(allowed)
    assert not "/drain_listeners".startswith(allowed)


def test_long_expressions_are_accepted() -> None:
    """The limit on regular expressions is raised, or a long path in a policy would refuse the whole set."""
    (layer,) = build(service())["layered_runtime"]["layers"]
    assert layer["static_layer"]["re2.max_program_size.error_level"] == 32768


def test_config_sources_are_identical() -> None:
    """Identical sources share subscriptions: one stream a resource, however many listeners."""
    found: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(
                json.dumps(value) for key, value in node.items() if key in {"sds_config", "config_source"}
            )
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(build(service(inbound=(INBOUND,), outbound=(OUTBOUND,))))
    assert (len(found), len(set(found))) == (5, 1)
