"""gRPC channels from the agent to the CA, one for each use, always verified.

A channel is made for one call or one stream and closed after it, so that roots and certificate are those held
now, and no connection outlives the certificate it was opened with.
"""

from __future__ import annotations

import grpc
import grpc.aio

from meshca.agent.svid import Svid
from meshca.agent.target import Target

KEEPALIVE_MS = 30_000  # a stream over a dead path is noticed within this and the timeout below
KEEPALIVE_TIMEOUT_MS = 10_000


def open_channel(target: Target, *, roots: bytes, server_name: str, svid: Svid | None = None) -> grpc.aio.Channel:
    """A channel that trusts these PEM roots only, and shows the certificate if there is one.

    Args:
        target: where the CA is.
        roots: PEM; never empty, since gRPC would then use roots that nobody chose.
        server_name: the name that the CA's certificate must carry; empty for the target's host.
        svid: the client certificate for the mTLS port.
    """
    if not roots:
        raise ValueError("a channel needs roots")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=roots,
        private_key=svid.private.reveal().encode() if svid else None,
        certificate_chain=svid.chain.encode() if svid else None,
    )
    options: list[tuple[str, str | int]] = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(str(target), credentials, options)
