"""The TLS side of gRPC ports: certificates that change while the server runs.

gRPC's Python server cannot ask for an optional client certificate, so there are two ports: one that never asks
and one that demands a certificate below our roots. TLS 1.2 is the lowest that gRPC's core speaks, ALPN h2 the
only protocol. The core checks a client's chain at the handshake only; who relies on it checks validity again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import grpc

from meshca.secret import Secret

# A CSR of the largest size that is read (64 KiB) fits four times. gRPC refuses a larger message by the length that
# stands before it (RESOURCE_EXHAUSTED) and buffers none of it. Anyone may leave a smaller one unfinished, on every
# stream of a connection, and empty elements of two bytes become objects of fifty: so it must not be much more.
MAX_MESSAGE_BYTES = 256 * 1024
# Tokens have at most 16 KiB. One byte of a compressed header block can stand for a whole entry, and an entry
# becomes 160 bytes of ours: 50 KB for a call were eight megabytes.
MAX_METADATA_BYTES = 64 * 1024
MAX_STREAMS = 100  # concurrent calls of one connection; RFC 9113 section 6.5.2 advises no fewer
HANDSHAKE_TIMEOUT = timedelta(seconds=10)
# What gRPC lets a client send on a stream that nobody reads from; it would let that grow by measurement. For the
# message that it is reading it opens the window as far as that message is long.
LOOKAHEAD_BYTES = 65_536
KEEPALIVE = timedelta(seconds=30)  # Istio's server: 30 s, answer within 10 s
KEEPALIVE_TIMEOUT = timedelta(seconds=10)
CONNECTION_GRACE = timedelta(seconds=30)  # for calls in flight when a connection reaches its age


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingMaterial:
    """What the ports show and trust.

    Attributes:
        chain: PEM of leaf, intermediates and root, in this order: a client that pins a root's fingerprint must
            be able to see the root.
        key: PEM of the leaf's private key.
        client_roots: PEM of the roots that client certificates must lead to.
    """

    chain: str
    key: Secret[str]
    client_roots: str


class Serving:
    """The material in force; `replace` is live at the next handshake of every port."""

    def __init__(self, material: ServingMaterial) -> None:
        self._material = material
        self._lock = threading.Lock()

    def replace(self, material: ServingMaterial) -> None:
        """Use other material from the next handshake on; connections that exist keep theirs."""
        with self._lock:
            self._material = material

    def credentials(self, *, client_certificates: bool) -> grpc.ServerCredentials:
        """Credentials of one port.

        Args:
            client_certificates: whether the port demands a certificate below the client roots.
        """
        shown = self._material

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            # Called by gRPC's own threads at each handshake; None means "as before", which is cheap.
            nonlocal shown
            with self._lock:
                if self._material is shown:
                    return None
                shown = self._material
            return _configuration(shown, client_certificates=client_certificates)

        initial = _configuration(shown, client_certificates=client_certificates)
        # The stubs forget that the fetcher may answer None (grpc.dynamic_ssl_server_credentials' own text).
        fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
        return grpc.dynamic_ssl_server_credentials(initial, fetcher, client_certificates)


def _configuration(material: ServingMaterial, *, client_certificates: bool) -> grpc.ServerCertificateConfiguration:
    pair = (material.key.reveal().encode(), material.chain.encode())
    roots = material.client_roots.encode() if client_certificates else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def server_options(max_connection_age: timedelta) -> tuple[tuple[str, int], ...]:
    """Channel arguments of both ports; the core adds jitter of 10 % to the connection age itself."""
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", _milliseconds(HANDSHAKE_TIMEOUT)),
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_connection_age_ms", _milliseconds(max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(CONNECTION_GRACE)),
        ("grpc.keepalive_time_ms", _milliseconds(KEEPALIVE)),
        ("grpc.keepalive_timeout_ms", _milliseconds(KEEPALIVE_TIMEOUT)),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # agents may ping as often as Istio's do
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 1),
    )


def _milliseconds(value: timedelta) -> int:
    return round(value / timedelta(milliseconds=1))
