"""What the outermost layer makes of answers, errors and unreadable calls, seen over a real connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2

from meshca._proto.istio.v1.auth import ca_pb2_grpc
from meshca.errors import BadRequest, Denied, MeshcaError, Unavailable
from meshca.wire.interceptors import Guarded
from meshca.wire.open_calls import Context
from meshca.wire.status import REQUEST_ID
from meshca.wire.tls import MAX_METADATA_BYTES
from tests.fakes.logs import captured_logs
from tests.wire.guarded_server import REQUEST, SERVICE, STREAMS, Handler, Served, failure, reason


async def test_answer_passes(served: Served) -> None:
    """An answer reaches the client as the handler made it."""
    answer = await served.call("Unary")(REQUEST)
    assert answer.cert_chain[0] == "text"
    assert served.failures == []


async def test_request_ids_are_distinct_and_ours(served: Served) -> None:
    """Each call has its own request id, whatever x-request-id says."""
    metadata = (("x-request-id", "theirs"),)
    first, second = [(await served.call("Unary")(REQUEST, metadata=metadata)).cert_chain[1] for _ in range(2)]
    assert first != second
    assert len(first) == 16
    assert "theirs" not in {first, second}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Denied("no_rule", "private"), grpc.StatusCode.PERMISSION_DENIED),
        (BadRequest("csr", "must be PEM"), grpc.StatusCode.INVALID_ARGUMENT),
        (Unavailable("store", "private"), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["denied", "bad request", "unavailable"],
)
@pytest.mark.parametrize(
    ("name", "kind"), [("Unary", "unary_unary"), *((name, "unary_stream") for name in STREAMS)]
)
async def test_error_of_ours(
    served: Served, name: str, kind: str, error: MeshcaError, code: grpc.StatusCode
) -> None:
    """An error of ours becomes its code, sentence and trailers, in unary calls and in streams."""
    served.behaviour.error = error
    found = await failure(served.call(name, kind)(REQUEST))
    assert found.code() is code
    assert reason(found) == error.reason
    assert (found.details() or "").startswith(error.public)
    assert served.failures == [(f"/{SERVICE}/{name}", code.name, error.reason)]


@pytest.mark.parametrize(
    ("name", "kind"), [("Unary", "unary_unary"), *((name, "unary_stream") for name in STREAMS)]
)
async def test_any_other_exception_shows_nothing(served: Served, name: str, kind: str) -> None:
    """The text of an exception that is not ours stays in the log, where the request id finds it."""
    served.behaviour.error = RuntimeError("password=hunter2")
    with captured_logs() as logs:
        found = await failure(served.call(name, kind)(REQUEST))
    request_id = dict(found.trailing_metadata() or ())[REQUEST_ID]
    assert found.code() is grpc.StatusCode.INTERNAL
    assert found.details() == f"internal error (request_id={request_id!s})"
    assert reason(found) is None
    (line,) = [line for line in logs if line["event"] == "rpc.failed"]
    assert line["request_id"] == request_id
    assert line["exc_info"] is served.behaviour.error


async def test_error_in_both_directions(served: Served) -> None:
    """A stream in both directions ends with the mapped error after what it had answered."""
    served.behaviour.error = Denied("no_rule", "private")
    call = served.call("Echoed", "stream_stream")()
    await call.write(REQUEST)
    assert (await call.read()).cert_chain == ["text"]
    assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_stream"])
async def test_too_much_metadata(served: Served, kind: str) -> None:
    """It is refused before there is a message: gRPC itself bounds it for clients only that heard its settings."""
    call = served.call(
        {"unary_unary": "Unary", "unary_stream": "Generated", "stream_stream": "Echoed"}[kind], kind
    )
    enough = (("a", "b" * (MAX_METADATA_BYTES - 1)),)
    found = await failure(call(iter([]) if kind == "stream_stream" else REQUEST, metadata=enough))
    assert (found.code(), reason(found)) == (grpc.StatusCode.INVALID_ARGUMENT, "metadata_size")
    assert dict(found.trailing_metadata() or ())[REQUEST_ID]
    assert not served.behaviour.started.is_set()


async def test_unknown_method(served: Served) -> None:
    """Of no service, with much metadata or none: UNIMPLEMENTED, in gRPC's words."""
    for metadata in ((), (("a", "b" * MAX_METADATA_BYTES),)):
        found = await failure(served.call("Other")(REQUEST, metadata=metadata))
        assert found.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe"], ids=["garbage", "string is not UTF-8"])
async def test_unreadable_message(served: Served, raw: bytes) -> None:
    """Bytes that are not the expected message are InvalidArgument."""
    found = await failure(served.call("Unary", raw=True)(raw))
    assert found.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(found) == "message"


@pytest.mark.parametrize("name", STREAMS)
async def test_unreadable_message_of_a_call_with_streamed_answers(served: Served, name: str) -> None:
    """The one request is read inside the guard as well: no text of the library leaves."""
    found = await failure(served.call(name, "unary_stream", raw=True)(b"\xff\xff\xff"))
    assert (found.code(), reason(found)) == (grpc.StatusCode.INVALID_ARGUMENT, "message")
    assert dict(found.trailing_metadata() or ())[REQUEST_ID]


async def test_unreadable_message_in_a_stream(served: Served) -> None:
    """Bytes that are not the expected message end a stream with an error, without library text."""
    call = served.call("Echoed", "stream_stream", raw=True)()
    await call.write(b"\xff\xff\xff")
    found = await failure(call)
    assert found.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(found) == "message"


async def test_their_abort_passes(served: Served) -> None:
    """A handler that aborts its call keeps its own status."""
    found = await failure(served.call("Aborted")(REQUEST))
    assert (found.code(), found.details()) == (grpc.StatusCode.NOT_FOUND, "theirs")


@pytest.mark.parametrize(("name", "kind"), [("Synchronous", "unary_unary"), ("SynchronousStream", "unary_stream")])
async def test_unwritten_method(served: Served, name: str, kind: str) -> None:
    """A method that only generated code has is UNIMPLEMENTED."""
    assert (await failure(served.call(name, kind)(REQUEST))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_refusal_is_logged_once(served: Served) -> None:
    """A refusal is logged with its private detail, unless the handler has audited it itself."""
    served.behaviour.error = Denied("no_rule", "private")
    with captured_logs() as logs:
        await failure(served.call("Unary")(REQUEST))
        served.behaviour.audited = True
        await failure(served.call("Unary")(REQUEST))
    refusals = [line for line in logs if line["event"] == "rpc.refused"]
    assert [line["detail"] for line in refusals] == ["private"]


def test_client_streaming_is_refused_at_registration() -> None:
    """A kind of method that this layer does not wrap cannot be served at all."""

    async def method(requests: Any, context: Context) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse()

    handler: Handler = grpc.stream_unary_rpc_method_handler(method)
    guarded = Guarded(cast("Any", None))
    with pytest.raises(TypeError, match="client streaming"):
        guarded.add_registered_method_handlers("x", {"Y": handler})


def test_generated_code_registers_by_name() -> None:
    """Generated code registers every method by name, so the unnamed registration may be ignored."""

    class Recorder:
        def __init__(self) -> None:
            self.names: list[str] = []

        def add_registered_method_handlers(self, service: str, handlers: dict[str, object]) -> None:
            self.names += handlers

        def add_generic_rpc_handlers(self, handlers: object) -> None:
            """Ignored, as Guarded does."""

    recorder = Recorder()
    add: Any = ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server
    add(SimpleNamespace(CreateCertificate=None), recorder)
    assert recorder.names == ["CreateCertificate"]
