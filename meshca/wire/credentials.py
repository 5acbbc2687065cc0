"""Reads what a caller shows of itself from a gRPC call. Nothing read here is believed.

Istio's rules (`ExtractBearerToken` in its pkg/security): of `authorization` only values that begin with exactly
`Bearer ` count, and the first of them wins; `clusterid` counts only if it was sent exactly once.
"""

from __future__ import annotations

from typing import Any

import grpc

from meshca.identity.caller import Credential
from meshca.secret import Secret

_SCHEME = "Bearer "


def read_credential(context: grpc.aio.ServicerContext[Any, Any]) -> Credential:
    """The token, client certificate and cluster name that came with a call."""
    token: Secret[str] | None = None
    clusters: list[str] = []
    for key, value in context.invocation_metadata() or ():
        if not isinstance(value, str):
            continue
        if key == "authorization":
            if token is None and value.startswith(_SCHEME):
                token = Secret(value[len(_SCHEME) :])
        elif key == "clusterid":
            clusters.append(value)
    return Credential(
        unverified_token=token,
        peer_certificate=peer_certificate(context),
        cluster=clusters[0] if len(clusters) == 1 else "",
    )


def peer_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> bytes | None:
    """PEM of the leaf that the handshake verified; None on the token port."""
    return next(iter(context.auth_context().get("x509_pem_cert", ())), None)
