"""Where an Envoy gets its secrets and policies: from the agent's Unix socket, or straight from the CA.

Pure. Every config source of one bootstrap is identical, so that Envoy shares subscriptions. Secrets wait for
ever (a listener without an identity must not open); the policy filter never waits, it denies meanwhile.
"""

from __future__ import annotations

from typing import Any

from meshca.config.resource_names import DEFAULT, ROOTCA
from meshca.sidecar.connections import authority
from meshca.sidecar.service import AgentSocket, DirectFromCa, ServiceBootstrap

AGENT_CLUSTER = "meshca-agent"
_CREDENTIALS = "envoy.grpc_credentials.file_based_metadata"
# gRPC servers take a ping every five minutes for granted and close the connection of a client that pings
# more often (gRPC keepalive guide: GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS = 300 s).
_KEEPALIVE_SECONDS = 310
_KEEPALIVE_TIMEOUT_SECONDS = 10


def config_source(service: ServiceBootstrap) -> dict[str, Any]:
    """The ConfigSource of every resource of this Envoy (envoy.config.core.v3.ConfigSource)."""
    return {
        "resource_api_version": "V3",
        "initial_fetch_timeout": "0s",
        "api_config_source": {
            "api_type": "DELTA_GRPC" if service.delta else "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [_grpc_service(service.source)],
        },
    }


def secret(name: str, service: ServiceBootstrap) -> dict[str, Any]:
    """A subscription to one secret (SdsSecretConfig)."""
    return {"name": name, "sds_config": config_source(service)}


def tls_context(service: ServiceBootstrap, peers: list[dict[str, Any]]) -> dict[str, Any]:
    """What both directions share: own certificate, roots, versions, and the names that a peer must prove.

    Args:
        service: the service.
        peers: string matchers, one of which the peer's URI SAN must satisfy.
    """
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [secret(DEFAULT, service)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer} for peer in peers],
            },
            "validation_context_sds_secret_config": secret(ROOTCA, service),
        },
    }


def clusters(service: ServiceBootstrap) -> list[dict[str, Any]]:
    """The cluster of the agent's socket; none when Envoy speaks to the CA by its own gRPC client."""
    if isinstance(service.source, DirectFromCa):
        return []
    pipe = {"pipe": {"path": str(service.source.path)}}
    return [
        {
            "name": AGENT_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {
                        "http2_protocol_options": {
                            "connection_keepalive": {
                                "interval": f"{_KEEPALIVE_SECONDS}s",
                                "timeout": f"{_KEEPALIVE_TIMEOUT_SECONDS}s",
                            }
                        }
                    },
                }
            },
            "load_assignment": {
                "cluster_name": AGENT_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe}}]}],
            },
        }
    ]


def _grpc_service(source: AgentSocket | DirectFromCa) -> dict[str, Any]:
    if isinstance(source, DirectFromCa):
        return {"google_grpc": _google_grpc(source)}
    # Envoy's default waits up to 30 s; this brings streams back within about 0.6 s of the agent's return.
    backoff = {"base_interval": "0.1s", "max_interval": "1s"}
    return {"envoy_grpc": {"cluster_name": AGENT_CLUSTER, "retry_policy": {"retry_back_off": backoff}}}


def _google_grpc(source: DirectFromCa) -> dict[str, Any]:
    """Envoy's own gRPC client with the token as call credentials (google_grpc, file_based_metadata)."""
    token = {
        "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
        "secret_data": {"filename": str(source.token_file)},
        "header_key": "authorization",
        "header_prefix": "Bearer ",
    }
    arguments: dict[str, Any] = {
        "grpc.initial_reconnect_backoff_ms": {"int_value": 100},
        "grpc.max_reconnect_backoff_ms": {"int_value": 1000},
        "grpc.keepalive_time_ms": {"int_value": _KEEPALIVE_SECONDS * 1000},
        "grpc.keepalive_timeout_ms": {"int_value": _KEEPALIVE_TIMEOUT_SECONDS * 1000},
    }
    if source.server_name:
        arguments["grpc.ssl_target_name_override"] = {"string_value": source.server_name}
    return {
        "target_uri": authority(source.host, source.port),
        "stat_prefix": "meshca-ca",
        "channel_credentials": {"ssl_credentials": {"root_certs": {"filename": str(source.root_file)}}},
        "credentials_factory_name": _CREDENTIALS,
        "call_credentials": [{"from_plugin": {"name": _CREDENTIALS, "typed_config": token}}],
        "channel_args": {"args": arguments},
    }
