"""The side that peers call: mTLS, path normalisation, the policy filter, then the application.

Pure. Nothing reaches the application without a certificate of the own trust domain and a policy's consent:
until the first policy set arrives, the filter's default denies everything with 403.
"""

from __future__ import annotations

from typing import Any

from meshca.config.resource_names import AUTHZ
from meshca.sidecar.connections import address, seconds
from meshca.sidecar.service import AppProtocol, Inbound, ServiceBootstrap
from meshca.sidecar.subscriptions import config_source, tls_context

RBAC_TYPE_URL = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
# Envoy obeys x-envoy-* headers of internal callers: repeat the request, how often, how long to wait. An empty list
# is its default, every private address; this is the one address that no connection can come from.
NOBODY_INTERNAL = {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]}
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def listener(service: ServiceBootstrap, inbound: Inbound) -> dict[str, Any]:
    """The listener of one inbound port (envoy.config.listener.v3.Listener)."""
    return {
        "name": name(inbound),
        "address": address(inbound.address, inbound.port),
        # With SO_REUSEPORT a second Envoy on this port would silently take half of the connections.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "transport_socket_connect_timeout": "10s",
                "transport_socket": {"name": "tls", "typed_config": _tls(service)},
                "filters": [{"name": "http", "typed_config": _http(service, inbound)}],
            }
        ],
    }


def cluster(inbound: Inbound) -> dict[str, Any]:
    """The cluster of the application behind one inbound port."""
    protocol = "http2_protocol_options" if inbound.app_protocol is AppProtocol.HTTP2 else "http_protocol_options"
    built: dict[str, Any] = {
        "name": _app(inbound),
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {protocol: {}},
            }
        },
        "load_assignment": {
            "cluster_name": _app(inbound),
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": address(inbound.app_address, inbound.app_port)}},
                    ]
                }
            ],
        },
    }
    if inbound.health_path:
        built["health_checks"] = [_health_check(inbound)]
    return built


def name(inbound: Inbound) -> str:
    """The listener's name: one for each application port."""
    return f"inbound-{inbound.port or 'any'}-{inbound.app_port}"


def _app(inbound: Inbound) -> str:
    return f"app-{inbound.port or 'any'}-{inbound.app_port}"


def _health_check(inbound: Inbound) -> dict[str, Any]:
    return {
        "timeout": "2s",
        "interval": "5s",
        "no_traffic_interval": "5s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "http_health_check": {
            "path": inbound.health_path,
            **({"codec_client_type": "HTTP2"} if inbound.app_protocol is AppProtocol.HTTP2 else {}),
        },
    }


def _tls(service: ServiceBootstrap) -> dict[str, Any]:
    """Mutual TLS towards peers. A resumed session skips the check of the peer's certificate: none is resumed."""
    own_domain = {"prefix": f"{service.trust_domain.id}/"}
    return {
        "@type": f"type.googleapis.com/{_TLS}",
        "require_client_certificate": True,
        "disable_stateless_session_resumption": True,
        "disable_stateful_session_resumption": True,
        "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], **tls_context(service, [own_domain])},
    }


def _http(service: ServiceBootstrap, inbound: Inbound) -> dict[str, Any]:
    return {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": name(inbound),
        "codec_type": "AUTO",
        # Without these a DENY on /admin is passed by //admin, /x/../admin, /%61dmin and /%2fadmin.
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_any_host_port": True,
        "common_http_protocol_options": {
            "max_connection_duration": seconds(service.max_connection_age),
            "idle_timeout": "3600s",
            # `X_Forwarded_Client_Cert` reads as the real header in CGI and WSGI applications.
            "headers_with_underscores_action": "REJECT_REQUEST",
            **({"max_requests_per_connection": 1} if service.full_handshakes else {}),
        },
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "0s",  # Envoy's five minutes would cut slow answers and quiet streams
        "drain_timeout": "5s",
        "use_remote_address": True,
        "internal_address_config": NOBODY_INTERNAL,
        "preserve_external_request_id": True,
        # The application learns the caller from x-forwarded-client-cert; what the caller wrote there is dropped.
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        "http_filters": [policy_filter(service), router()],
        # Envoy itself tells the application the peer's address so; x-forwarded-for says it too.
        "route_config": {**route(_app(inbound)), "request_headers_to_remove": ["x-envoy-external-address"]},
        **({"access_log": [_access_log()]} if service.access_log else {}),
    }


def policy_filter(service: ServiceBootstrap) -> dict[str, Any]:
    """The RBAC filter, delivered by ECDS; an ALLOW without policies until then, which denies everything."""
    return {
        "name": AUTHZ,
        "config_discovery": {
            "config_source": config_source(service),
            "type_urls": [RBAC_TYPE_URL],
            "default_config": {"@type": RBAC_TYPE_URL, "rules": {"action": "ALLOW"}},
            "apply_default_config_without_warming": True,
        },
    }


def router() -> dict[str, Any]:
    """The last filter; it tells nobody which host behind it answered how fast."""
    kind = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    return {"name": "router", "typed_config": {"@type": kind, "suppress_envoy_headers": True}}


def route(cluster_name: str, **action: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Envoy's RouteAction
    """Everything to one cluster; streams and slow answers are the application's business, so no time limit."""
    return {
        "name": cluster_name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": cluster_name, "timeout": "0s", **action}},
                ],
            }
        ],
    }


def _access_log() -> dict[str, Any]:
    """One JSON line a request, without the query (it may hold secrets); `details` names the deciding rule."""
    return {
        "name": "stdout",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ)%",
                    "status": "%RESPONSE_CODE%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "flags": "%RESPONSE_FLAGS%",
                    "duration_ms": "%DURATION%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                }
            },
        },
    }
