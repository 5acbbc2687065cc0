"""The side that the application calls: a loopback port in plain HTTP, mTLS towards the other service.

Pure. The other side must prove exactly the expected identity; being of the same trust domain is not enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshca.sidecar.connections import address, distinct, is_address, seconds
from meshca.sidecar.inbound import NOBODY_INTERNAL, route, router
from meshca.sidecar.service import Outbound, ServiceBootstrap
from meshca.sidecar.subscriptions import tls_context

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
# The system's resolver finds what the application would find itself, /etc/hosts included. Addresses go through it
# too: it answers later and never at once, and a cluster that is ready at once crashes `--mode validate` of Envoy
# 1.40 when its secrets come by google_grpc (it serves well).
_RESOLVER = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
# Only failures in which the request was certainly not handled, so that nothing is done twice.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"


def listener(outbound: Outbound, name: str) -> dict[str, Any]:
    """The loopback listener (envoy.config.listener.v3.Listener) of one other service, the cluster of this name."""
    return {
        "name": name,
        "address": address("127.0.0.1", outbound.listen_port),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _http(name)}]}],
    }


def cluster(service: ServiceBootstrap, outbound: Outbound, name: str) -> dict[str, Any]:
    """The cluster of one other service, with the identity that it must prove."""
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "typed_dns_resolver_config": {
            "name": "system",
            "typed_config": {"@type": f"type.googleapis.com/{_RESOLVER}"},
        },
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocol(service)
        },
        "transport_socket": {"name": "tls", "typed_config": _tls(service, outbound)},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(outbound.host, outbound.port)}}]},
            ],
        },
    }


def names(outbounds: Iterable[Outbound]) -> list[str]:
    """What listener and cluster of each are called. Port 0 may lead to one place more than once."""
    return distinct(f"outbound-{one.listen_port or 'any'}-{one.host}-{one.port}" for one in outbounds)


def _protocol(service: ServiceBootstrap) -> dict[str, Any]:
    """HTTP/2 or HTTP/1.1 as the other side's ALPN says; connections bounded in age like inbound ones."""
    return {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {
            "max_connection_duration": seconds(service.max_connection_age),
            "idle_timeout": "300s",
            **({"max_requests_per_connection": 1} if service.full_handshakes else {}),
        },
        "auto_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}},
        },
    }


def _tls(service: ServiceBootstrap, outbound: Outbound) -> dict[str, Any]:
    """Mutual TLS with no session kept, so that each connection checks the other side's certificate."""
    expected = [{"exact": str(identity)} for identity in outbound.identities]
    return {
        "@type": f"type.googleapis.com/{_TLS}",
        **({} if is_address(outbound.host) else {"sni": outbound.host}),
        "max_session_keys": 0,
        "common_tls_context": tls_context(service, expected),
    }


def _http(name: str) -> dict[str, Any]:
    retry = {"retry_on": _RETRY_ON, "num_retries": 2}
    return {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "0s",  # as inbound
        "internal_address_config": NOBODY_INTERNAL,  # not the application either: it may pass on what a peer wrote
        # The application is not trusted to say who it is: Envoy's certificate does.
        "forward_client_cert_details": "SANITIZE",
        "http_filters": [router()],
        "route_config": route(name, retry_policy=retry),
    }
