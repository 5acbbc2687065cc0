"""A client of a server whose every handler is guarded; a test says what the handlers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from meshca._proto.istio.v1.auth import ca_pb2
from meshca.wire.interceptors import Guarded, current_call
from meshca.wire.open_calls import Context
from meshca.wire.status import REASON

SERVICE = "test.Service"
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
