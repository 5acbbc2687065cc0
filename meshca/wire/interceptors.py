"""The outermost layer of every call: the only place where an error becomes a gRPC status.

gRPC's own answer to an exception is UNKNOWN with the exception's text, so this layer is a security control:
what a handler raises leaves the process as a fixed public sentence, a reason and a request id, nothing else.
It wraps handlers when they are registered instead of being a grpc.aio interceptor, which costs 5 % more per
call. A server is only ever filled through `Guarded`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from meshca.errors import BadRequest, MeshcaError
from meshca.log import log
from meshca.wire.open_calls import DRAINING, Context, OpenCalls, StreamContext, stopping
from meshca.wire.status import details, private_trailers, status_code, trailers
from meshca.wire.tls import MAX_METADATA_BYTES

Failed = Callable[[str, str, str], None]


@dataclass(slots=True)
class Call:
    """The call that this task serves.

    Attributes:
        id: our own random request id; a client's x-request-id is never used for it.
        method: full name, `/package.Service/Method`.
        audited: set by whoever logs the decision of this call itself, so that it is logged once.
    """

    id: str
    method: str
    audited: bool = False


_current: ContextVar[Call] = ContextVar("call")
_ids = random.Random()  # noqa: S311 - an id, not a secret; os.urandom is a system call for each request


def _request_id() -> str:
    return f"{_ids.getrandbits(64):016x}"


def current_call() -> Call:
    """The call that this task serves; only inside a handler."""
    return _current.get()


class Guarded:
    """Stands in for a grpc.aio server while services are added to it.

    Args:
        server: the server that gets the wrapped handlers.
        failed: told (method, code, reason) of each call that ends with an error; for metrics.
        private: whether clients are shown the detail of errors: only where all of them are administrators.
    """

    def __init__(
        self, server: grpc.aio.Server, failed: Failed = lambda *_: None, *, private: bool = False
    ) -> None:
        self._server = server
        self._failed = failed
        self._private = private
        self._calls = OpenCalls()
        self._refusing = asyncio.Event()

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Wrap and pass on; called by generated code."""
        wrapped = {}
        for name, handler in method_handlers.items():
            method = f"/{service_name}/{name}"
            wrapped[method] = self._wrapped(method, handler)
        self._server.add_generic_rpc_handlers((_Entrance(wrapped, self._refusal),))

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: generated code registers the same methods by name as well."""

    def end_streams(self) -> None:
        """End every open stream with UNAVAILABLE, which tells its client to connect again, elsewhere."""
        self._calls.end_streams()

    @property
    def idle(self) -> bool:
        """Whether every call that reached a handler is answered, though perhaps its client does not read that."""
        return self._calls.answering == 0 and not self._calls.streams

    def refuse_calls(self) -> None:
        """Answer every new unary call with UNAVAILABLE, which its client may send again, elsewhere.

        Calls that reach a gRPC server while it stops end with a bare CANCELLED, which most clients do not retry.
        """
        self._refusing.set()

    def _wrapped(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        guard = self._guard(method)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(guard.unary(handler))
        if handler.stream_unary:
            raise TypeError(f"{method}: client streaming is not guarded")
        if handler.unary_stream:
            behaviour = guard.stream(handler.unary_stream, read=handler.request_deserializer)
            return grpc.unary_stream_rpc_method_handler(behaviour, response_serializer=handler.response_serializer)
        return grpc.stream_stream_rpc_method_handler(
            guard.stream(handler.stream_stream),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guard(self, method: str) -> _Guard:
        return _Guard(method, self._failed, self._calls, self._refusing, private=self._private)

    def _refusal(self, method: str) -> grpc.RpcMethodHandler[Any, Any]:
        """Refuses a call by its metadata, without waiting for its message."""
        return grpc.stream_stream_rpc_method_handler(self._guard(method).stream(_too_much_metadata))


class _Entrance(grpc.GenericRpcHandler):
    """Finds the handler of a call when its headers are there, and its message perhaps never will be.

    gRPC holds clients to its limit of metadata only once they have acknowledged its settings (RFC 9113 section
    6.5.3): before that a call may carry 16 MiB, and would keep them for as long as it lasts.
    """

    def __init__(
        self,
        handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]],
        refusal: Callable[[str], grpc.RpcMethodHandler[Any, Any]],
    ) -> None:
        self._handlers = handlers
        self._refusal = refusal

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler, or the one that refuses."""
        method = handler_call_details.method
        if _size(handler_call_details.invocation_metadata) > MAX_METADATA_BYTES and method in self._handlers:
            return self._refusal(method)
        return self._handlers.get(method)


class _Guard:
    """Maps the errors of one method."""

    def __init__(
        self, method: str, failed: Failed, calls: OpenCalls, refusing: asyncio.Event, *, private: bool
    ) -> None:
        self._method = method
        self._failed = failed
        self._calls = calls
        self._refusing = refusing
        self._private = private

    def unary(self, handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """A unary call from bytes to bytes: messages that do not parse are mapped as well."""
        behaviour: Any = handler.unary_unary
        read: Any = handler.request_deserializer
        write: Any = handler.response_serializer
        if not inspect.iscoroutinefunction(behaviour):
            behaviour = _unimplemented
        method, refusing, calls = self._method, self._refusing, self._calls

        async def guarded(raw: bytes, context: Context) -> bytes:
            call = Call(_request_id(), method)
            _current.set(call)
            if refusing.is_set():
                await self._refuse(stopping(), call, context)
                return b""  # as below
            calls.answering += 1
            try:
                answer: bytes = write(await behaviour(read(raw), context))
            except Exception as error:  # noqa: BLE001 - the outermost layer; cancellation passes as BaseException
                raw = b""  # a traceback may keep this frame alive until the next collection
                await self._refuse(error, call, context)
                return b""  # never sent: the call is over
            finally:
                calls.answering -= 1
            return answer

        return guarded

    def stream(
        self,
        behaviour: Any,  # noqa: ANN401 - any handler
        *,
        read: Callable[[bytes], Any] | None = None,
    ) -> Callable[[Any, Context], Awaitable[None]]:
        """A call with streamed answers, from an async generator or a coroutine that writes by itself.

        Args:
            behaviour: the handler.
            read: parses the one request; None when requests are streamed too, which gRPC reads as they come.
        """
        generates = inspect.isasyncgenfunction(behaviour)
        if not generates and not inspect.iscoroutinefunction(behaviour):
            behaviour = _unimplemented
        method = self._method

        async def answered(request: Any, context: StreamContext) -> None:  # noqa: ANN401 - a message or many
            if not generates:
                await behaviour(request, context)
                return
            async with contextlib.aclosing(behaviour(request, context)) as answers:
                async for answer in answers:
                    await context.write(answer)

        async def guarded(request: Any, context: Context) -> None:  # noqa: ANN401 - as above
            call = Call(_request_id(), method)
            _current.set(call)
            stream = StreamContext(context)
            try:
                with self._calls.joined():
                    await answered(read(request) if read else request, stream)
            except Exception as error:  # noqa: BLE001 - as above
                await stream.settle()
                await self._refuse(error, call, context)

        return guarded

    async def _refuse(self, error: Exception, call: Call, context: Context) -> None:
        if isinstance(error, grpc.aio.AbortError):  # gRPC's own services end their calls this way
            raise error
        if isinstance(error, DecodeError):
            error = BadRequest("message", "the message is not valid protobuf of the expected type")
        if context.done():  # the client is gone; what failed is our answer to it
            log.debug("rpc.abandoned", method=call.method, request_id=call.id)
            return
        code = status_code(error)
        reason = error.reason if isinstance(error, MeshcaError) else "internal"
        self._failed(call.method, code.name, reason)
        if not isinstance(error, MeshcaError):
            log.error("rpc.failed", method=call.method, request_id=call.id, exc_info=error)
        elif code is grpc.StatusCode.INTERNAL:
            log.error("rpc.failed", method=call.method, request_id=call.id, reason=reason, detail=error.detail)
        elif not call.audited:
            serious = code is grpc.StatusCode.UNAVAILABLE and reason != DRAINING
            (log.warning if serious else log.info)(
                "rpc.refused",
                method=call.method,
                request_id=call.id,
                code=code.name,
                reason=reason,
                detail=error.detail,
            )
        told = trailers(error, call.id) + (private_trailers(error) if self._private else ())
        try:
            await context.abort(code, details(error, call.id), told)
        except grpc.aio.InternalError:  # the client never took it; gRPC would log a traceback of ours
            raise asyncio.CancelledError from None


def _size(metadata: Sequence[tuple[str, str | bytes]] | None) -> int:
    """As HTTP/2 counts it (RFC 9113 section 6.5.2)."""
    return sum(len(key) + len(value) + 32 for key, value in metadata or ())


async def _too_much_metadata(_requests: object, _context: Context) -> None:
    raise BadRequest("metadata_size", f"the metadata of a call must be at most {MAX_METADATA_BYTES} bytes")


async def _unimplemented(_request: object, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not implemented")
