"""A complete Envoy bootstrap for one service, so that nobody writes one by hand.

Pure: values in, a dictionary of plain JSON types out. Point 20 of the spine says what must be in it; the real
Envoy's `--mode validate` accepts every variant in tests/sidecar/test_bootstrap_real.py.
"""

from __future__ import annotations

from typing import Any

from meshca.sidecar import inbound, outbound, ready_page, subscriptions
from meshca.sidecar.connections import address
from meshca.sidecar.service import AdminSocket, ServiceBootstrap

# Envoy refuses larger regular expressions by default at 100 instructions, about as many characters; a long
# path in a policy is longer. The figure is Istio's.
_REGEX_LIMIT = 32768
_MAX_CONNECTIONS = 20_000  # bounds memory under a flood of connections; far above what one service serves
# What can be read on the administration page. Nothing that changes or ends Envoy: the application, which can
# reach loopback too, could otherwise turn its own policies off.
_ADMIN_PATHS = ("/ready", "/stats", "/certs", "/clusters", "/listeners", "/server_info", "/config_dump", "/memory")


def build(service: ServiceBootstrap) -> dict[str, Any]:
    """The bootstrap of a service (envoy.config.bootstrap.v3.Bootstrap as JSON)."""
    outbounds = list(zip(service.outbound, outbound.names(service.outbound), strict=True))
    account = service.identity.path.removeprefix("/ns/").partition("/sa/")
    return {
        "node": {
            "id": service.node_id or f"{account[2]}.{account[0]}",
            "cluster": f"{account[2]}.{account[0]}",
        },
        **_admin(service),
        "layered_runtime": {
            "layers": [{"name": "meshca", "static_layer": {"re2.max_program_size.error_level": _REGEX_LIMIT}}]
        },
        "overload_manager": {"resource_monitors": [_connection_limit()]},
        "static_resources": {
            "listeners": [
                *(inbound.listener(service, item) for item in service.inbound),
                *(outbound.listener(item, name) for item, name in outbounds),
                *([ready_page.listener(service.ready)] if service.ready else []),
            ],
            "clusters": [
                *subscriptions.clusters(service),
                *(inbound.cluster(item) for item in service.inbound),
                *(outbound.cluster(service, item, name) for item, name in outbounds),
            ],
        },
    }


def _admin(service: ServiceBootstrap) -> dict[str, Any]:
    if service.admin is None:
        return {}
    place = (
        {"pipe": {"path": str(service.admin.path), "mode": 0o600}}
        if isinstance(service.admin, AdminSocket)
        else address("127.0.0.1", service.admin.port)
    )
    return {"admin": {"address": place, "allow_paths": [{"prefix": path} for path in _ADMIN_PATHS]}}


def _connection_limit() -> dict[str, Any]:
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"type.googleapis.com/{kind}",
            "max_active_downstream_connections": _MAX_CONNECTIONS,
        },
    }
