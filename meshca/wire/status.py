"""How an error looks on the wire: status code, sentence, trailers.

The private detail of an error never leaves, with two exceptions: `BadRequest` says what is wrong with the
request, in our own words, and the administrator's socket (`private_trailers`) says why it cannot answer. A
broken invariant shows a request id and nothing else.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from meshca.errors import BadRequest, Exhausted, MeshcaError

REASON: Final = "meshca-reason"
DETAIL: Final = "meshca-detail-bin"  # UTF-8; to the administrator only
REQUEST_ID: Final = "meshca-request-id"
PUSHBACK: Final = "grpc-retry-pushback-ms"  # gRFC A6: the server says when to retry
DETAILS: Final = "grpc-status-details-bin"  # a serialized google.rpc.Status

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_INTERNAL: Final = grpc.StatusCode.INTERNAL

Trailers = tuple[tuple[str, str | bytes], ...]


def status_code(error: Exception) -> grpc.StatusCode:
    """The gRPC code of any exception: INTERNAL for those that are not ours."""
    return _CODES[error.code] if isinstance(error, MeshcaError) else _INTERNAL


def details(error: Exception, request_id: str) -> str:
    """The sentence that the client sees."""
    if not isinstance(error, MeshcaError) or status_code(error) is _INTERNAL:
        return f"{MeshcaError.public} (request_id={request_id})"
    sentence = f"{error.public} (reason={error.reason} request_id={request_id})"
    return f"{sentence}: {error.detail}" if isinstance(error, BadRequest) else sentence


def trailers(error: Exception, request_id: str) -> Trailers:
    """What programs read: the reason, the request id, and when to try again."""
    if not isinstance(error, MeshcaError) or status_code(error) is _INTERNAL:
        return ((REQUEST_ID, request_id),)
    fixed: Trailers = ((REASON, error.reason), (REQUEST_ID, request_id))
    return fixed + _retry(error, request_id) if isinstance(error, Exhausted) else fixed


def private_trailers(error: Exception) -> Trailers:
    """The private detail, for a client to whom nothing is secret; none of a fault of our own."""
    if not isinstance(error, MeshcaError) or status_code(error) is _INTERNAL:
        return ()
    return ((DETAIL, error.detail.encode()),)


def _retry(error: Exhausted, request_id: str) -> Trailers:
    milliseconds = max(1, round(error.retry_after * 1000))
    delay = Duration()
    delay.FromMilliseconds(milliseconds)
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=delay))
    status = Status(code=error.code, message=details(error, request_id), details=[packed])
    return ((PUSHBACK, str(milliseconds)), (DETAILS, status.SerializeToString()))
