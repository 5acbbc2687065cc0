"""What certificates a TLS server presents, fetched without trusting any of them.

Only a pinned fingerprint may turn one of these into trust (`trust`); nothing is ever sent over this connection.
Python's `ssl` is imported only when this is needed (`lean` says why), so a thread waits, not the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from cryptography import x509

from meshca.agent.chain import UNREADABLE
from meshca.agent.target import Target
from meshca.errors import Unavailable


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
        chain = await asyncio.to_thread(_handshake, target, server_name or target.host, seconds)
    except OSError:  # ssl.SSLError and TimeoutError are OSErrors
        detail = f"cannot see the certificates of {target}: no TLS server answers there; check --endpoint"
        raise Unavailable("ca_unavailable", detail) from None
    try:
        return tuple(x509.load_der_x509_certificate(der) for der in chain)
    except UNREADABLE:
        raise Unavailable("bad_answer", f"{target} presented a certificate that does not parse") from None


def _handshake(target: Target, server_name: str, seconds: float) -> list[bytes]:
    """DER certificates that a TLS server shows.

    Raises:
        OSError: there is none, or it takes too long.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])  # gRPC servers refuse handshakes without it
    with (
        socket.create_connection((target.host, target.port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as connection,
    ):
        return _chain(connection)


def _chain(connection: Any) -> list[bytes]:  # noqa: ANN401 - ssl.SSLSocket has no typed way before Python 3.13
    """DER certificates of the peer; public since Python 3.13, and below it on the wrapped object."""
    if hasattr(connection, "get_unverified_chain"):
        return list(connection.get_unverified_chain())
    import ssl

    inner = connection._sslobj.get_unverified_chain() or []  # noqa: SLF001 - see above
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes(1)) for certificate in inner]
