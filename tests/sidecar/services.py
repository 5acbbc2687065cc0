"""Services whose bootstraps the tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.service import AgentSocket, Inbound, Outbound, ServiceBootstrap

ME = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
PAYMENTS = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
INBOUND = Inbound(port=8443, app_port=8080)
OUTBOUND = Outbound(listen_port=9001, host="payments.shop", port=8443, identities=(PAYMENTS,))


def service(**changes: Any) -> ServiceBootstrap:
    """A service with one port in and one out, with some fields changed."""
    return ServiceBootstrap(
        **{
            "identity": ME,
            "source": AgentSocket(path=Path("/run/agent.sock")),
            "inbound": (INBOUND,),
            "outbound": (OUTBOUND,),
            **changes,
        }
    )
