"""The side that peers call; each protection is one fact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshca.sidecar.inbound import RBAC_TYPE_URL, cluster, listener, policy_filter
from meshca.sidecar.service import AppProtocol
from tests.sidecar.services import INBOUND, service


def parts(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The TLS context and the HTTP connection manager of the inbound listener."""
    (chain,) = listener(service(**changes), INBOUND)["filter_chains"]
    (manager,) = chain["filters"]
    return chain["transport_socket"]["typed_config"], manager["typed_config"]


def test_demands_a_certificate_of_the_own_trust_domain() -> None:
    """A peer without a certificate, or of another trust domain, does not get past the handshake."""
    tls, _ = parts()
    validation = tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    assert tls["require_client_certificate"] is True
    assert [item["matcher"] for item in validation["match_typed_subject_alt_names"]] == [
        {"prefix": "spiffe://cluster.local/"}
    ]


def test_resumes_no_session() -> None:
    """A resumed session would skip the check of a certificate that may have ended."""
    tls, _ = parts()
    assert (tls["disable_stateless_session_resumption"], tls["disable_stateful_session_resumption"]) == (
        True,
        True,
    )


def test_normalises_paths_before_policies() -> None:
    """The three settings without which a DENY can be passed by another spelling."""
    _, http = parts()
    assert (http["normalize_path"], http["merge_slashes"], http["path_with_escaped_slashes_action"]) == (
        True,
        True,
        "REJECT_REQUEST",
    )


def test_policy_comes_before_the_router() -> None:
    """The policy filter is first, the router last."""
    _, http = parts()
    assert [item["name"] for item in http["http_filters"]] == ["meshca-authz", "router"]


def test_denies_from_the_first_moment() -> None:
    """The default is an ALLOW without policies, applied at once and without waiting for the first push."""
    discovery = policy_filter(service())["config_discovery"]
    assert discovery["default_config"] == {"@type": RBAC_TYPE_URL, "rules": {"action": "ALLOW"}}
    assert discovery["apply_default_config_without_warming"] is True
    assert discovery["type_urls"] == [RBAC_TYPE_URL]


def test_tells_the_application_who_calls() -> None:
    """What a caller writes into x-forwarded-client-cert is replaced by what its certificate says."""
    _, http = parts()
    assert (http["forward_client_cert_details"], http["set_current_client_cert_details"]) == (
        "SANITIZE_SET",
        {"uri": True},
    )


def test_slow_answers_and_quiet_streams_are_not_cut() -> None:
    """Neither by a limit on the whole answer nor by one on its silence."""
    _, http = parts()
    (host,) = http["route_config"]["virtual_hosts"]
    assert (http["stream_idle_timeout"], host["routes"][0]["route"]["timeout"]) == ("0s", "0s")


def test_no_caller_is_internal() -> None:
    """An empty list would be Envoy's default, every private address."""
    _, http = parts()
    ranges = [{"address_prefix": "255.255.255.255", "prefix_len": 32}]
    assert (http["use_remote_address"], http["internal_address_config"]) == (True, {"cidr_ranges": ranges})


def test_connections_end_with_age() -> None:
    """Connections are closed at the age that the service asks for."""
    _, http = parts()
    assert http["common_http_protocol_options"]["max_connection_duration"] == "1800s"


def test_one_request_a_connection_for_tests_only() -> None:
    """The option for rotation tests is off unless asked for."""
    _, normal = parts()
    _, tested = parts(full_handshakes=True)
    assert "max_requests_per_connection" not in normal["common_http_protocol_options"]
    assert tested["common_http_protocol_options"]["max_requests_per_connection"] == 1


def test_log_leaves_the_query_out() -> None:
    """Queries hold secrets; the log has the path without it, and the detail that names the rule."""
    _, http = parts()
    fields = http["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert (fields["path"], fields["details"]) == ("%PATH(NQ)%", "%RESPONSE_CODE_DETAILS%")


def test_log_can_be_off() -> None:
    """Without access log there is none."""
    assert "access_log" not in parts(access_log=False)[1]


def test_application_is_on_loopback() -> None:
    """The application behind is asked on loopback, in HTTP/1 without health checks unless told otherwise."""
    built = cluster(INBOUND)
    (endpoint,) = built["load_assignment"]["endpoints"][0]["lb_endpoints"]
    (protocol,) = built["typed_extension_protocol_options"].values()
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8080}
    assert protocol["explicit_http_config"] == {"http_protocol_options": {}}
    assert "health_checks" not in built


def test_application_in_http2_with_health() -> None:
    """An application that speaks HTTP/2 is also asked for its health in HTTP/2."""
    built = cluster(replace(INBOUND, app_protocol=AppProtocol.HTTP2, health_path="/healthz"))
    (protocol,) = built["typed_extension_protocol_options"].values()
    assert protocol["explicit_http_config"] == {"http2_protocol_options": {}}
    assert built["health_checks"][0]["http_health_check"] == {"path": "/healthz", "codec_client_type": "HTTP2"}


def test_application_in_http1_with_health() -> None:
    """The health check of an HTTP/1 application is in HTTP/1."""
    built = cluster(replace(INBOUND, health_path="/healthz"))
    assert built["health_checks"][0]["http_health_check"] == {"path": "/healthz"}
