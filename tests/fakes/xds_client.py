"""An xDS client that answers only when a test says so, in both protocol variants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3 import discovery_pb2

from meshca.wire.xds_streams import Streams

SDS = "/envoy.service.secret.v3.SecretDiscoveryService/"
ECDS = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
SECONDS = 10  # a test that waits longer has failed


class XdsStream:
    """One stream. The first request carries the node."""

    def __init__(self, call: Any, *, delta: bool, node_id: str, type_url: str) -> None:
        self.call = call
        self.last: Any = None
        self._delta = delta
        self._node_id = node_id
        self._type_url = type_url
        self._names: list[str] = []

    async def ask(self, *names: str, type_url: str | None = None, **fields: Any) -> None:
        """Subscribe to exactly these names; `fields` override those of the message.

        A stream that the server has already ended is left to `answer` or `status`, which say how it ended.
        """
        old, self._names = self._names, list(names)
        if self._delta:
            fields.setdefault("resource_names_subscribe", [name for name in names if name not in old])
            fields.setdefault("resource_names_unsubscribe", [name for name in old if name not in names])
        else:
            fields.setdefault("resource_names", names)
        await self.send(type_url=type_url, **fields)

    async def send(self, type_url: str | None = None, **fields: Any) -> None:
        """Send a request of these fields."""
        kind = discovery_pb2.DeltaDiscoveryRequest if self._delta else discovery_pb2.DiscoveryRequest
        message = kind(type_url=self._type_url if type_url is None else type_url, **fields)
        if self._node_id:
            message.node.id, self._node_id = self._node_id, ""
        # The server may end a stream before it is asked; InvalidStateError says that it has.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(message)

    async def answer(self) -> dict[str, bytes]:
        """Wait for the next response: bodies by name (delta) or by position (state of the world)."""
        self.last = await self.call.read()
        if self.last is grpc.aio.EOF:
            raise EOFError
        if self._delta:
            return {resource.name: resource.resource.value for resource in self.last.resources}
        return {str(index): resource.value for index, resource in enumerate(self.last.resources)}

    async def ack(self, *names: str, **fields: Any) -> None:
        """Acknowledge the last response, with these names if given."""
        await self._reply(names, version_info=None if self._delta else self.last.version_info, **fields)

    async def nack(self, text: str = "refused", version: str = "") -> None:
        """Refuse the last response."""
        error = {"code": 13, "message": text}
        await self._reply((), version_info=None if self._delta else version, error_detail=error)

    async def status(self) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """How the stream ends: code, details, trailers."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.call.read() is not grpc.aio.EOF:
                pass
        trailers = {str(key): str(value) for key, value in await self.call.trailing_metadata()}
        return await self.call.code(), await self.call.details(), trailers

    async def _reply(self, names: Sequence[str], **fields: Any) -> None:
        fields = {key: value for key, value in fields.items() if value is not None}
        fields.setdefault("type_url", self.last.type_url)
        await self.ask(*(names or self._names), response_nonce=self.last.nonce, **fields)


@contextlib.asynccontextmanager
async def xds_stream(
    channel: grpc.aio.Channel,
    method: str,
    *,
    type_url: str = "",
    node_id: str = "node-1",
    metadata: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[XdsStream]:
    """A stream of `method`, such as SDS + "StreamSecrets"; cancelled at the end."""
    delta = method.rpartition("/")[2].startswith("Delta")
    kind = "DeltaDiscovery" if delta else "Discovery"
    call = channel.stream_stream(
        method,
        request_serializer=getattr(discovery_pb2, f"{kind}Request").SerializeToString,
        response_deserializer=getattr(discovery_pb2, f"{kind}Response").FromString,
    )(timeout=SECONDS, metadata=tuple(metadata))
    try:
        yield XdsStream(call, delta=delta, node_id=node_id, type_url=type_url)
    finally:
        call.cancel()


async def fetch(channel: grpc.aio.Channel, method: str, *names: str, **fields: Any) -> Any:
    """One unary fetch."""
    metadata = fields.pop("metadata", ())
    return await channel.unary_unary(
        method,
        request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
        response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
    )(discovery_pb2.DiscoveryRequest(resource_names=names, **fields), timeout=SECONDS, metadata=metadata)


def read_secret(body: bytes) -> Secret:
    """A pushed secret, without the mark that makes the bytes of each push unique."""
    found = Secret.FromString(body)
    tls = found.WhichOneof("type") == "tls_certificate"
    source = found.tls_certificate.certificate_chain if tls else found.validation_context.trusted_ca
    if source.inline_bytes.startswith(b"# "):
        source.inline_bytes = source.inline_bytes.partition(b"\n")[2]
    return found


async def written(streams: Streams) -> None:
    """Return once nothing is on its way to a client; an answer is often here before its writer knows.

    To be awaited before a clock is moved past the time after which a client counts as not reading.
    """
    async with asyncio.timeout(SECONDS):
        while any(stream._writing is not None for stream in streams._all()):  # noqa: ASYNC110 - no event tells a test
            await asyncio.sleep(0.001)
