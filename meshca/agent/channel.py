"""gRPC channels from the agent to the CA, always verified; that of the open stream is lent to renewals.

A channel is made for one call or one stream and closed after it, so that roots and certificate are those held
now, and no connection outlives the certificate it was opened with. Must never lend a channel that shows another
certificate than the one to ask with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

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


class Lent:
    """The channel over which the stream to the CA speaks; a call over it needs no handshake.

    gRPC connects it anew by itself when it is lost, and then believes the roots that it was opened with, one of
    which may have been dropped since. So nothing may be learnt from what comes over it.
    """

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None
        self._svid: Svid | None = None
        self._in_use = asyncio.Lock()

    def offer(self, channel: grpc.aio.Channel, svid: Svid) -> None:
        """Lend this channel, which shows this certificate, from now on."""
        self._channel, self._svid = channel, svid

    async def take_back(self) -> None:
        """Lend none; returns when nobody uses it, for closing it would cancel the call."""
        self._channel = self._svid = None
        async with self._in_use:
            pass

    @contextlib.asynccontextmanager
    async def borrowed(self, svid: Svid) -> AsyncIterator[grpc.aio.Channel | None]:
        """For one call: a channel that shows this certificate, if there is one."""
        async with self._in_use:
            yield self._channel if self._svid is svid else None
