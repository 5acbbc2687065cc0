"""A failed gRPC call to the CA as one of our errors, with what the reader can do about it.

The CA's own sentence is shown only as printable text of bounded length: it may come from an enemy.
"""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from meshca.errors import BadRequest, Denied, Exhausted, MeshcaError, Unauthenticated, Unavailable
from meshca.printable import printable
from meshca.wire.status import DETAILS, PUSHBACK, REQUEST_ID

LONGEST_TEXT = 300
# How gRPC's core words a server certificate that it does not accept; there is no code for it.
_UNTRUSTED = ("handshake failed", "certificate_verify_failed", "hostname verification check failed")
_CODES: dict[grpc.StatusCode, tuple[type[MeshcaError], str, str]] = {
    grpc.StatusCode.UNAUTHENTICATED: (
        Unauthenticated,
        "ca_unauthenticated",
        "the CA did not accept who we are; check the token's audience, expiry and issuer",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        Denied,
        "ca_denied",
        "no admission rule of the CA lets us have this identity",
    ),
    grpc.StatusCode.INVALID_ARGUMENT: (BadRequest, "ca_bad_request", "the CA refuses the request itself"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (Unavailable, "ca_deadline", "the CA did not answer in time"),
    grpc.StatusCode.UNIMPLEMENTED: (
        Unavailable,
        "ca_unimplemented",
        "there is no certificate service at this address",
    ),
}


def from_rpc(error: grpc.aio.AioRpcError, target: str) -> MeshcaError:
    """Our error for a failed call.

    A TLS failure shows as UNAVAILABLE: "handshake failed" when we do not trust the CA, "Socket closed" when it
    does not accept our certificate.
    """
    said = printable((error.details() or "")[:LONGEST_TEXT])
    place = f"{target} said {error.code().name}: {said}"
    hint = retry_hint(error)
    if hint is not None or error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Exhausted("ca_busy", f"the CA asks us to wait; {place}", retry_after=hint or 0.0)
    if error.code() in _CODES:
        kind, reason, meaning = _CODES[error.code()]
        return kind(reason, f"{meaning}; {place}")
    if any(sign in said.lower() for sign in _UNTRUSTED):
        return Unavailable(
            "ca_untrusted",
            "no trusted TLS connection to the CA: its certificate must lead to the given root and carry the name "
            f"in --endpoint (or --server-name); {place}",
        )
    return Unavailable("ca_unavailable", f"the CA cannot be reached or cannot answer now; {place}")


def decided(error: grpc.aio.AioRpcError) -> bool:
    """Whether the CA itself ended the call: its answers carry an id, those of gRPC and of proxies do not."""
    return REQUEST_ID in _metadata(error)


def retry_hint(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which the CA wants us back; None when it does not say.

    Read are `grpc-retry-pushback-ms` (gRPC A6) and google.rpc.RetryInfo.
    """
    metadata = _metadata(error)
    pushback = metadata.get(PUSHBACK, b"")
    if pushback.isdigit() and len(pushback) < 12:
        return int(pushback) / 1000
    try:
        status = Status.FromString(metadata.get(DETAILS, b""))
        for detail in status.details:
            info = RetryInfo()
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9)
    except DecodeError:
        pass
    return None


def _metadata(error: grpc.aio.AioRpcError) -> dict[str, bytes]:
    pairs = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    return {key: value.encode() if isinstance(value, str) else value for key, value in pairs}
