"""A small xDS server for a real Envoy: gives secrets and filters by name, and notes what each stream showed.

Speaks the state-of-the-world form of SDS and ECDS over gRPC; knows nothing of our own session engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

_SERVICES = {
    "envoy.service.secret.v3.SecretDiscoveryService": "StreamSecrets",
    "envoy.service.extension.v3.ExtensionConfigDiscoveryService": "StreamExtensionConfigs",
}


@dataclass(slots=True)
class XdsServer:
    """What it gives, by resource name (type URL and body), and what streams showed.

    Attributes:
        resources: an unknown name stays pending.
        shown: the `authorization` header of each stream, in order, with the name asked for first.
    """

    resources: Mapping[str, tuple[str, bytes]]
    shown: list[tuple[str, str]] = field(default_factory=list)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on a gRPC server."""
        for service, method in _SERVICES.items():
            handler = grpc.stream_stream_rpc_method_handler(
                self._stream, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
            )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def end_streams(self) -> None:
        """End every stream that is open now; new ones are served."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def _stream(self, requests: Any, context: Any) -> AsyncIterator[DiscoveryResponse]:
        header = str(dict(context.invocation_metadata()).get("authorization", ""))
        ended = asyncio.create_task(self._ended.wait())
        try:
            first = await requests.__anext__()
            self.shown.append((first.resource_names[0], header))
            for name in first.resource_names:
                if name in self.resources:
                    yield self._answer(name)
            await ended
        finally:
            ended.cancel()

    def _answer(self, name: str) -> DiscoveryResponse:
        type_url, body = self.resources[name]
        resource = AnyMessage(type_url=type_url, value=body)
        return DiscoveryResponse(version_info="1", nonce="1", type_url=type_url, resources=[resource])
