"""A page that says when Envoy serves, for a pod's probes: the administration page is on loopback, out of reach.

Pure. Envoy opens no listener before every certificate that its configuration names is there, so an answer means
that the ports are open; it tells nothing else.
"""

from __future__ import annotations

from typing import Any, Final

from meshca.sidecar.connections import address
from meshca.sidecar.inbound import router
from meshca.sidecar.service import ReadyPage

PATH: Final = "/ready"
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def listener(page: ReadyPage) -> dict[str, Any]:
    """The listener of the page (envoy.config.listener.v3.Listener)."""
    return {
        "name": "ready",
        "address": address(page.address, page.port),
        "enable_reuse_port": False,
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _http()}]}],
    }


def _http() -> dict[str, Any]:
    answer = {"match": {"path": PATH}, "direct_response": {"status": 200}}
    return {
        "@type": f"type.googleapis.com/{_HCM}",
        "stat_prefix": "ready",
        "request_headers_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "60s"},
        "http_filters": [router()],
        "route_config": {
            "name": "ready",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}],
        },
    }
