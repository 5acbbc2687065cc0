"""Failed calls as errors of ours."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Metadata

from meshca.agent.call_error import LONGEST_TEXT, decided, from_rpc, retry_hint
from meshca.errors import BadRequest, Denied, Exhausted, MeshcaError, Unauthenticated, Unavailable


def failure(code: grpc.StatusCode, details: str = "", *trailers: tuple[str, str | bytes]) -> AioRpcError:
    """What a call raises."""
    return AioRpcError(code, Metadata(), Metadata(*trailers), details)


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated, "ca_unauthenticated"),
        (grpc.StatusCode.PERMISSION_DENIED, Denied, "ca_denied"),
        (grpc.StatusCode.INVALID_ARGUMENT, BadRequest, "ca_bad_request"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable, "ca_deadline"),
        (grpc.StatusCode.UNIMPLEMENTED, Unavailable, "ca_unimplemented"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Exhausted, "ca_busy"),
        (grpc.StatusCode.UNAVAILABLE, Unavailable, "ca_unavailable"),
        (grpc.StatusCode.INTERNAL, Unavailable, "ca_unavailable"),
        (grpc.StatusCode.CANCELLED, Unavailable, "ca_unavailable"),
        (grpc.StatusCode.UNKNOWN, Unavailable, "ca_unavailable"),
    ],
)
def test_each_code_has_its_error(code: grpc.StatusCode, kind: type[MeshcaError], reason: str) -> None:
    """What is not listed may pass by itself."""
    error = from_rpc(failure(code), "ca:1")
    assert type(error) is kind
    assert error.reason == reason


def test_the_sentence_of_the_ca_is_shown() -> None:
    """It carries the reason and the request id."""
    assert (
        "reason=token_expired"
        in from_rpc(failure(grpc.StatusCode.UNAUTHENTICATED, "no (reason=token_expired)"), "x").detail
    )


def test_what_the_ca_says_cannot_forge_log_lines() -> None:
    """It may be an enemy's text."""
    error = from_rpc(failure(grpc.StatusCode.UNKNOWN, "a\nb\x1b[31m" + "x" * 10_000), "ca:1")
    assert error.detail.isprintable()
    assert len(error.detail) < LONGEST_TEXT + 200


@pytest.mark.parametrize(
    ("trailers", "expected"),
    [((("meshca-request-id", "5f"),), True), ((("other", "5f"),), False), ((), False)],
    ids=["the-ca", "a-proxy", "grpc"],
)
def test_what_the_ca_decided_is_told_from_what_failed_on_the_way(
    trailers: tuple[tuple[str, str], ...], *, expected: bool
) -> None:
    """By the id that it gives each of its answers."""
    assert decided(failure(grpc.StatusCode.UNAVAILABLE, "no", *trailers)) is expected


def details(seconds: int, nanos: int = 0) -> tuple[str, bytes]:
    """A google.rpc.Status with RetryInfo."""
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
    return ("grpc-status-details-bin", Status(details=[packed]).SerializeToString())


@pytest.mark.parametrize(
    ("trailers", "hint"),
    [
        pytest.param([], None, id="none"),
        pytest.param([("grpc-retry-pushback-ms", "1500")], 1.5, id="pushback"),
        pytest.param([("grpc-retry-pushback-ms", "-1")], None, id="negative: gRFC A6 says do not retry"),
        pytest.param([("grpc-retry-pushback-ms", "9" * 400)], None, id="absurd"),
        pytest.param([("grpc-retry-pushback-ms", "soon")], None, id="no number"),
        pytest.param([details(3, 500_000_000)], 3.5, id="RetryInfo"),
        pytest.param([details(-3)], 0.0, id="negative RetryInfo"),
        pytest.param([("grpc-status-details-bin", b"\xff\xff")], None, id="garbage"),
        pytest.param(
            [("grpc-status-details-bin", Status(details=[AnyMessage()]).SerializeToString())], None, id="other"
        ),
    ],
)
def test_retry_hints_are_read(trailers: list[tuple[str, str | bytes]], hint: float | None) -> None:
    """Both spellings; nonsense is no hint."""
    assert retry_hint(failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "", *trailers)) == hint


def test_a_hint_counts_with_any_code() -> None:
    """A CA that drains says UNAVAILABLE and when to come back."""
    error = from_rpc(failure(grpc.StatusCode.UNAVAILABLE, "", ("grpc-retry-pushback-ms", "2000")), "ca:1")
    assert isinstance(error, Exhausted)
    assert error.retry_after == 2.0
