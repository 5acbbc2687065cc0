"""Facts about errors on the wire, without a wire."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from meshca.errors import (
    BadRequest,
    Denied,
    Exhausted,
    InvariantBroken,
    MeshcaError,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from meshca.wire.status import DETAILS, PUSHBACK, REASON, REQUEST_ID, details, status_code, trailers

PRIVATE = "the private detail"
CODES: list[tuple[Exception, grpc.StatusCode]] = [
    (Unauthenticated("r", PRIVATE), grpc.StatusCode.UNAUTHENTICATED),
    (Denied("r", PRIVATE), grpc.StatusCode.PERMISSION_DENIED),
    (BadRequest("r", PRIVATE), grpc.StatusCode.INVALID_ARGUMENT),
    (Exhausted("r", PRIVATE, retry_after=1.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable("r", PRIVATE), grpc.StatusCode.UNAVAILABLE),
    (NotFound("r", PRIVATE), grpc.StatusCode.NOT_FOUND),
    (InvariantBroken("r", PRIVATE), grpc.StatusCode.INTERNAL),
    (RuntimeError(PRIVATE), grpc.StatusCode.INTERNAL),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[type(error).__name__ for error, _ in CODES])
def test_code(error: Exception, code: grpc.StatusCode) -> None:
    """Each class has one gRPC code; what is not ours is INTERNAL."""
    assert status_code(error) is code


@pytest.mark.parametrize("error", [error for error, _ in CODES if not isinstance(error, BadRequest)])
def test_private_detail_stays(error: Exception) -> None:
    """The private detail is neither in the sentence nor in the trailers."""
    assert PRIVATE not in details(error, "id")
    assert PRIVATE not in str(trailers(error, "id"))


def test_bad_request_says_what_is_wrong() -> None:
    """A bad request's detail is shown after the fixed sentence."""
    expected = "the request is not valid (reason=csr request_id=id): the csr must be PEM"
    assert details(BadRequest("csr", "the csr must be PEM"), "id") == expected


def test_sentence_has_reason_and_request_id() -> None:
    """The sentence is fixed, and carries reason and request id."""
    expected = f"{Denied.public} (reason=no_rule request_id=id)"
    assert details(Denied("no_rule", PRIVATE), "id") == expected


@pytest.mark.parametrize("error", [InvariantBroken("lint", PRIVATE), KeyError(PRIVATE)])
def test_internal_has_request_id_and_nothing_else(error: Exception) -> None:
    """A fault of ours shows the request id only, not even its reason."""
    assert details(error, "id") == "internal error (request_id=id)"
    assert trailers(error, "id") == ((REQUEST_ID, "id"),)


def test_reason_and_request_id_are_trailers() -> None:
    """Programs read reason and request id from trailers."""
    assert trailers(Unavailable("store", PRIVATE), "id") == ((REASON, "store"), (REQUEST_ID, "id"))


@pytest.mark.parametrize(("seconds", "milliseconds"), [(1.5, 1500), (0.0001, 1)])
def test_exhausted_says_when(seconds: float, milliseconds: int) -> None:
    """Exhausted carries the wait twice: for gRPC's own retries and as google.rpc.RetryInfo."""
    error: MeshcaError = Exhausted("per_identity", PRIVATE, retry_after=seconds)
    found = dict(trailers(error, "id"))
    status = Status.FromString(found[DETAILS])
    info = RetryInfo()
    assert found[PUSHBACK] == str(milliseconds)
    assert status.code == 8
    assert status.message == details(error, "id")
    assert status.details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == milliseconds
