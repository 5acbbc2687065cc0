"""Names of pushed resources that the CA, the agent and every bootstrap must agree on.

Constants only: the agent imports this module, so it must never import a configuration library.
"""

from __future__ import annotations

from typing import Final

SECRET_TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a message type, not a password
EXTENSION_TYPE_URL: Final = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
ORDER_TYPE_URL: Final = "type.googleapis.com/meshca.v1.RenewalOrder"
DEFAULT: Final = "default"  # the workload's certificate and key, as Istio and SPIRE name it
ROOTCA: Final = "ROOTCA"  # the trust bundle, as Istio and SPIRE name it
AUTHZ: Final = "meshca-authz"  # the one RBAC filter that carries every authorization policy
ORDER: Final = "order"  # which leaves are to be replaced now; for agents only
LARGEST_POLICIES: Final = 2 * 1024 * 1024  # bytes of that filter; gRPC's own limit for a message is 4 MiB
