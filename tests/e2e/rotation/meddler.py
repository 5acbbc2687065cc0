"""Stands between an Envoy and its agent: hands everything on as it is, but spoils the roots while told to.

What Envoy says to them is its own word, and reaches the agent unchanged. It speaks the state-of-the-world form
of SDS and ECDS, and knows nothing of our own session engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from meshca.config.resource_names import SECRET_TYPE_URL

METHODS = {
    "envoy.service.secret.v3.SecretDiscoveryService": "StreamSecrets",
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService": "StreamExtensionConfigs",
}
FIRST_LINE, SPOILT = b"-----BEGIN CERTIFICATE-----\nM", b"-----BEGIN CERTIFICATE-----\nA"


class Meddler:
    """What went by.

    Args:
        path: where Envoy takes its agent to be.
        channel: to the agent.

    Attributes:
        spoils: whether roots are handed on damaged.
        refusals: Envoy's words to what it refused last of each name.
    """

    def __init__(self, path: Path, channel: grpc.aio.Channel) -> None:
        self.path = path
        self.spoils = False
        self.refusals: dict[str, str] = {}
        self._channel = channel

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a gRPC server."""
        for service, method in METHODS.items():
            handler = grpc.stream_stream_rpc_method_handler(
                partial(self._hand_on, f"/{service}/{method}"),
                DiscoveryRequest.FromString,
                DiscoveryResponse.SerializeToString,
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    async def _hand_on(self, method: str, requests: AsyncIterator[Any], _context: object) -> AsyncIterator[Any]:
        call = self._channel.stream_stream(
            method,
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )(self._heard(requests))
        try:
            async for response in call:
                yield self._spoilt(response) if self.spoils else response
        finally:
            call.cancel()

    async def _heard(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if request.HasField("error_detail"):
                self.refusals |= dict.fromkeys(request.resource_names, request.error_detail.message)
            yield request

    def _spoilt(self, response: Any) -> Any:
        for resource in response.resources:
            if resource.type_url == SECRET_TYPE_URL:
                secret = Secret.FromString(resource.value)
                if secret.HasField("validation_context"):
                    source = secret.validation_context.trusted_ca
                    source.inline_bytes = source.inline_bytes.replace(FIRST_LINE, SPOILT)
                    resource.value = secret.SerializeToString()
        return response


@contextlib.asynccontextmanager
async def meddling(agent: Path, path: Path) -> AsyncIterator[Meddler]:
    """One that is honest at first.

    Args:
        agent: where that serves.
        path: where Envoy takes it to be.
    """
    async with grpc.aio.insecure_channel(f"unix:{agent}") as channel:
        meddler, server = Meddler(path, channel), grpc.aio.server()
        meddler.add_to(server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        try:
            yield meddler
        finally:
            await server.stop(0)
