"""What certificates a TLS server presents, fetched without trusting any of them.

Only a pinned fingerprint may turn one of these into trust (`trust`); nothing is ever sent over this connection.
A thread waits, not the event loop.
"""

from __future__ import annotations

import asyncio

from cryptography import x509

from meshca.agent.chain import UNREADABLE
from meshca.agent.target import Target
from meshca.errors import Unavailable
from meshca.wire.handshake import shake_hands


async def presented_chain(target: Target, server_name: str, seconds: float) -> tuple[x509.Certificate, ...]:
    """The certificates that the server sends in its handshake, in its order, unverified.

    Args:
        target: where the server is.
        server_name: the SNI to ask for; empty for the target's host.
        seconds: longest time for each step of connection and handshake.

    Raises:
        Unavailable: reason `ca_unavailable`, when there is no TLS server within the time, or `bad_answer`.
    """
    try:
        name = server_name or target.host
        shown = await asyncio.to_thread(shake_hands, target.host, target.port, name, seconds)
    except OSError:  # ssl.SSLError and TimeoutError are OSErrors
        detail = f"cannot see the certificates of {target}: no TLS server answers there; check --endpoint"
        raise Unavailable("ca_unavailable", detail) from None
    try:
        return tuple(x509.load_der_x509_certificate(der) for der in shown.chain)
    except UNREADABLE:
        raise Unavailable("bad_answer", f"{target} presented a certificate that does not parse") from None
