"""What a TLS server shows in its handshake: certificates and protocol, fetched without trusting any of them.

Nothing is ever sent over this connection, and nothing here says that anything is good: whoever asks must judge.
Python's `ssl` is imported only when this is needed (`agent.lean` says why); it blocks, so call it in a thread.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What a server showed, unverified.

    Attributes:
        chain: DER certificates in the server's order.
        protocol: that it chose by ALPN; empty when it chose none.
    """

    chain: tuple[bytes, ...]
    protocol: str


def shake_hands(host: str, port: int, server_name: str, seconds: float) -> Handshake:
    """Connect, look, hang up.

    Args:
        host: name or address of the server.
        port: of the server.
        server_name: the SNI to ask for.
        seconds: longest time for each step of connection and handshake.

    Raises:
        OSError: there is no TLS server, or it takes too long; ssl.SSLError is one.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])  # gRPC servers refuse handshakes without it
    with (
        socket.create_connection((host, port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=server_name) as connection,
    ):
        return Handshake(chain=tuple(_chain(connection)), protocol=connection.selected_alpn_protocol() or "")


def _chain(connection: Any) -> list[bytes]:  # noqa: ANN401 - ssl.SSLSocket has no typed way before Python 3.13
    """DER certificates of the peer; public since Python 3.13, and below it on the wrapped object."""
    if hasattr(connection, "get_unverified_chain"):
        return list(connection.get_unverified_chain())
    import ssl

    inner = connection._sslobj.get_unverified_chain() or []  # noqa: SLF001 - see above
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes(1)) for certificate in inner]
