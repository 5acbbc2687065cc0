"""The side that the application calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshca.sidecar.inbound import NOBODY_INTERNAL
from meshca.sidecar.outbound import cluster, listener
from tests.sidecar.services import ME, OUTBOUND, PAYMENTS, service


def tls(**changes: Any) -> dict[str, Any]:
    """The TLS context towards the other service."""
    found: dict[str, Any] = cluster(service(), replace(OUTBOUND, **changes), "pay")["transport_socket"][
        "typed_config"
    ]
    return found


def protocol(**changes: Any) -> dict[str, Any]:
    """The HTTP options of the cluster."""
    (found,) = cluster(service(**changes), OUTBOUND, "pay")["typed_extension_protocol_options"].values()
    options: dict[str, Any] = found["common_http_protocol_options"]
    return options


def test_other_side_must_be_exactly_the_expected() -> None:
    """Being of the mesh is not enough: the certificate must hold one of the expected identities."""
    validation = tls(identities=(PAYMENTS, ME))["common_tls_context"]["combined_validation_context"]
    assert [
        item["matcher"] for item in validation["default_validation_context"]["match_typed_subject_alt_names"]
    ] == [
        {"exact": "spiffe://cluster.local/ns/shop/sa/payments"},
        {"exact": "spiffe://cluster.local/ns/shop/sa/web"},
    ]


def test_keeps_no_session() -> None:
    """Each connection checks the other side's certificate anew."""
    assert tls()["max_session_keys"] == 0


def test_application_reaches_it_on_loopback_only() -> None:
    """The plain-HTTP port is not for others."""
    assert listener(OUTBOUND, "pay")["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9001}


def manager() -> dict[str, Any]:
    """The HTTP connection manager of the application's port."""
    (chain,) = listener(OUTBOUND, "pay")["filter_chains"]
    found: dict[str, Any] = chain["filters"][0]["typed_config"]
    return found


def test_no_caller_is_internal() -> None:
    """An application may pass on the headers of its own callers."""
    assert manager()["internal_address_config"] == NOBODY_INTERNAL


def test_slow_answers_and_quiet_streams_are_not_cut() -> None:
    """Neither by a limit on the whole answer nor by one on its silence."""
    (host,) = manager()["route_config"]["virtual_hosts"]
    assert (manager()["stream_idle_timeout"], host["routes"][0]["route"]["timeout"]) == ("0s", "0s")


@pytest.mark.parametrize(("host", "sni"), [("payments.shop", "payments.shop"), ("10.0.0.1", None)])
def test_names_are_told(host: str, sni: str | None) -> None:
    """A name is sent as SNI, an address is not a name."""
    assert tls(host=host).get("sni") == sni


def test_connections_end_with_age() -> None:
    """Connections to others are bounded in age like those from others."""
    assert protocol()["max_connection_duration"] == "1800s"


def test_one_request_a_connection_for_tests_only() -> None:
    """The option for rotation tests is off unless asked for."""
    assert "max_requests_per_connection" not in protocol()
    assert protocol(full_handshakes=True)["max_requests_per_connection"] == 1


def test_repeats_only_what_was_not_done() -> None:
    """A request is sent again only when the other side certainly did not handle it."""
    (host,) = manager()["route_config"]["virtual_hosts"]
    retried = host["routes"][0]["route"]["retry_policy"]["retry_on"]
    assert set(retried.split(",")) == {"connect-failure", "refused-stream", "reset-before-request"}
