"""Facts about the outermost layer, seen by a client over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2

from meshca._proto.istio.v1.auth import ca_pb2, ca_pb2_grpc
from meshca.errors import BadRequest, Denied, MeshcaError, Unavailable
from meshca.wire.interceptors import Guarded, current_call
from meshca.wire.open_calls import Context
from meshca.wire.status import REASON, REQUEST_ID
from meshca.wire.tls import MAX_METADATA_BYTES
from tests.fakes.logs import captured_logs

SERVICE = "test.Service"
LARGE = "x" * 2**20  # gRPC takes a message or two of its server before a client reads
Handler = Any


class Behaviour:
    """What the served methods do; a test sets `error` or `wait`."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.audited = False
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.wait = False
        self.answers = ["first"]

    async def act(self) -> None:
        """Wait, raise, or return, as the test said."""
        self.started.set()
        current_call().audited = self.audited
        if self.wait:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error

    async def unary(self, request: ca_pb2.IstioCertificateRequest, _: Context) -> ca_pb2.IstioCertificateResponse:
        """Answer with the request's CSR and the request id."""
        await self.act()
        return ca_pb2.IstioCertificateResponse(cert_chain=[request.csr, current_call().id])

    async def generated(self, request: Any, _: Context) -> AsyncIterator[ca_pb2.IstioCertificateResponse]:
        """An async generator."""
        for text in self.answers:
            yield ca_pb2.IstioCertificateResponse(cert_chain=[text])
        await self.act()

    async def written(self, request: Any, context: Context) -> None:
        """A coroutine that writes by itself, as gRPC's health service does."""
        for text in self.answers:
            await context.write(ca_pb2.IstioCertificateResponse(cert_chain=[text]))
        await self.act()

    async def echoed(self, requests: Any, _: Context) -> AsyncIterator[ca_pb2.IstioCertificateResponse]:
        """Both directions."""
        async for request in requests:
            yield ca_pb2.IstioCertificateResponse(cert_chain=[request.csr])
            await self.act()

    async def aborted(self, _: Any, context: Context) -> None:
        """End the call as gRPC's own services do."""
        await context.abort(grpc.StatusCode.NOT_FOUND, "theirs")

    def synchronous(self, _: Any, context: Any) -> None:
        """What generated code has for a method that nobody wrote."""


class Served:
    """A client of a server with those methods."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        guarded: Guarded,
        behaviour: Behaviour,
        failures: list[tuple[str, str, str]],
    ) -> None:
        self.channel = channel
        self.guarded = guarded
        self.behaviour = behaviour
        self.failures = failures

    def call(self, name: str, kind: str = "unary_unary", *, raw: bool = False) -> Any:
        """A stub of one method; raw sends bytes as they are."""
        make = getattr(self.channel, kind)
        serialize = (lambda data: data) if raw else ca_pb2.IstioCertificateRequest.SerializeToString
        return make(f"/{SERVICE}/{name}", serialize, ca_pb2.IstioCertificateResponse.FromString)


def _handler(make: Any, behaviour: Any) -> Handler:
    read, write = ca_pb2.IstioCertificateRequest.FromString, ca_pb2.IstioCertificateResponse.SerializeToString
    return make(behaviour, request_deserializer=read, response_serializer=write)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server whose every handler is guarded."""
    behaviour = Behaviour()
    failures: list[tuple[str, str, str]] = []
    server = grpc.aio.server(options=(("grpc.max_metadata_size", 2**20),))  # more than the guard allows
    guarded = Guarded(server, lambda *failure: failures.append(failure))
    guarded.add_registered_method_handlers(
        SERVICE,
        {
            "Unary": _handler(grpc.unary_unary_rpc_method_handler, behaviour.unary),
            "Generated": _handler(grpc.unary_stream_rpc_method_handler, behaviour.generated),
            "Written": _handler(grpc.unary_stream_rpc_method_handler, behaviour.written),
            "Echoed": _handler(grpc.stream_stream_rpc_method_handler, behaviour.echoed),
            "Aborted": _handler(grpc.unary_unary_rpc_method_handler, behaviour.aborted),
            "Synchronous": _handler(grpc.unary_unary_rpc_method_handler, behaviour.synchronous),
            "SynchronousStream": _handler(grpc.unary_stream_rpc_method_handler, behaviour.synchronous),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(channel, guarded, behaviour, failures)
    await server.stop(None)


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


REQUEST = ca_pb2.IstioCertificateRequest(csr="text")
STREAMS = ["Generated", "Written"]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """The error that a unary call or a stream ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _end(call)
    return caught.value


async def _end(call: Any) -> None:
    if isinstance(call, grpc.aio.UnaryUnaryCall):
        await call
        return
    async for _ in call:
        pass


def reason(error: grpc.aio.AioRpcError) -> object:
    """The reason trailer."""
    return dict(error.trailing_metadata() or ()).get(REASON)


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


async def test_cancelled_by_the_client(served: Served) -> None:
    """A client that goes away cancels the handler, and that is no failure."""
    served.behaviour.wait = True
    call = served.call("Unary")(REQUEST)
    await served.behaviour.started.wait()
    call.cancel()
    await served.behaviour.cancelled.wait()
    assert served.failures == []


@pytest.mark.parametrize("name", STREAMS)
async def test_ended_streams_send_clients_elsewhere(served: Served, name: str) -> None:
    """When the server stops, open streams end with UNAVAILABLE, and new ones do so at once."""
    served.behaviour.wait = True
    call = served.call(name, "unary_stream")(REQUEST)
    await served.behaviour.started.wait()
    served.guarded.end_streams()
    assert (await failure(call)).code() is grpc.StatusCode.UNAVAILABLE
    assert served.behaviour.cancelled.is_set()
    assert (await failure(served.call(name, "unary_stream")(REQUEST))).code() is grpc.StatusCode.UNAVAILABLE


async def test_stream_cancelled_by_the_client(served: Served) -> None:
    """A client that leaves a stream cancels its handler, and that is no failure."""
    served.behaviour.wait = True
    call = served.call("Generated", "unary_stream")(REQUEST)
    await served.behaviour.started.wait()
    call.cancel()
    await served.behaviour.cancelled.wait()
    assert served.failures == []


async def test_unary_calls_go_on_while_streams_end(served: Served) -> None:
    """Ending the streams does not touch unary calls."""
    served.guarded.end_streams()
    assert (await served.call("Unary")(REQUEST)).cert_chain[0] == "text"


async def test_new_calls_are_refused_while_calls_in_flight_go_on(served: Served) -> None:
    """With a status that clients retry, and the reason; gRPC itself would say CANCELLED."""
    served.behaviour.wait = True
    flying = served.call("Unary")(REQUEST)
    await served.behaviour.started.wait()
    served.guarded.refuse_calls()
    refused = await failure(served.call("Unary")(REQUEST))
    assert (refused.code(), dict(refused.trailing_metadata() or ())[REASON]) == (
        grpc.StatusCode.UNAVAILABLE,
        "draining",
    )
    assert not flying.done()
    flying.cancel()


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


@pytest.mark.parametrize("name", STREAMS)
async def test_status_follows_what_is_still_being_read(served: Served, name: str) -> None:
    """A client that does not read is told why its stream ended once it does, and nobody waits for that."""
    served.behaviour.answers = [LARGE] * 9
    call = served.call(name, "unary_stream")(REQUEST)
    await call.initial_metadata()
    await asyncio.sleep(0.2)  # for the server to write what goes out
    served.guarded.end_streams()
    await until(lambda: served.guarded.idle)
    assert 0 < len([answer async for answer in _told(call)]) < len(served.behaviour.answers)
    assert (await call.code(), dict(await call.trailing_metadata())[REASON]) == (
        grpc.StatusCode.UNAVAILABLE,
        "draining",
    )


async def _told(call: Any) -> AsyncIterator[ca_pb2.IstioCertificateResponse]:
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for answer in call:
            yield answer


async def test_idle_once_all_is_answered(served: Served) -> None:
    """While a unary call or a stream is answered the guard is not idle, and then it is."""
    served.behaviour.wait = True
    for name, kind in (("Unary", "unary_unary"), ("Generated", "unary_stream")):
        served.behaviour.started.clear()
        call = served.call(name, kind)(REQUEST)
        await served.behaviour.started.wait()
        assert not served.guarded.idle
        call.cancel()
        await until(lambda: served.guarded.idle)
