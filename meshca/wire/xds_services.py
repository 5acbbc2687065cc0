"""Envoy's discovery services as gRPC handlers over `Streams`: SDS, ECDS and ADS, both variants.

Used by the CA towards agents and Envoys, and by the agent towards its Envoys. Handlers are registered with
their methods' names instead of generated base classes, which load descriptors that nobody here needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from meshca.config.resource_names import EXTENSION_TYPE_URL, ORDER_TYPE_URL, SECRET_TYPE_URL
from meshca.discovery.event import Push, Resource, joint_version
from meshca.errors import NotFound
from meshca.wire.xds_messages import DELTA, WHOLE, Variant, read_whole, write_whole
from meshca.wire.xds_streams import Context, Streams, Terms

Admit = Callable[[Context], Awaitable[Terms]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A discovery service by its wire names; an empty name means that the method is not offered."""

    name: str
    types: frozenset[str]
    stream: str
    delta: str
    fetch: str = ""


SECRETS: Final = Service(
    name="envoy.service.secret.v3.SecretDiscoveryService",
    types=frozenset({SECRET_TYPE_URL}),
    stream="StreamSecrets",
    delta="DeltaSecrets",
    fetch="FetchSecrets",
)
EXTENSIONS: Final = Service(
    name="envoy.service.extension.v3.ExtensionConfigDiscoveryService",
    types=frozenset({EXTENSION_TYPE_URL}),
    stream="StreamExtensionConfigs",
    delta="DeltaExtensionConfigs",
    fetch="FetchExtensionConfigs",
)
AGGREGATED: Final = Service(
    name="envoy.service.discovery.v3.AggregatedDiscoveryService",
    types=frozenset({SECRET_TYPE_URL, EXTENSION_TYPE_URL, ORDER_TYPE_URL}),
    stream="StreamAggregatedResources",
    delta="DeltaAggregatedResources",
)


class Registry(Protocol):
    """A grpc.aio server, or what stands in for it."""

    def add_generic_rpc_handlers(self, handlers: Any, /) -> None:  # noqa: ANN401 - gRPC's own signature varies
        """Add services."""

    def add_registered_method_handlers(self, service: Any, handlers: Any, /) -> None:  # noqa: ANN401 - as above
        """Add the same by name."""


def add_service(server: Registry, service: Service, streams: Streams, admit: Admit) -> None:
    """Serve one discovery service.

    Args:
        server: where to; both ways of registering are called, as generated code does.
        service: which one.
        streams: keeps the streams.
        admit: called first for every stream and fetch: it authenticates, or raises, and gives the terms.
    """
    handlers = {
        service.stream: _stream(WHOLE, service.types, streams, admit),
        service.delta: _stream(DELTA, service.types, streams, admit),
    }
    if service.fetch:
        handlers[service.fetch] = _fetch(service.types, admit)
    server.add_registered_method_handlers(service.name, handlers)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))


def _stream(
    variant: Variant, types: Collection[str], streams: Streams, admit: Admit
) -> grpc.RpcMethodHandler[Any, Any]:
    async def behaviour(_requests: object, context: Context) -> None:
        await streams.serve(context, variant, types, await admit(context))

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        behaviour, request_deserializer=variant.parse, response_serializer=bytes
    )
    return handler


def _fetch(types: Collection[str], admit: Admit) -> grpc.RpcMethodHandler[Any, Any]:
    async def behaviour(message: Any, context: Context) -> bytes:  # noqa: ANN401 - DiscoveryRequest
        terms = await admit(context)
        type_url, names = read_whole(message, types).type_url, tuple(dict.fromkeys(message.resource_names))
        leave = terms.source.watch(lambda: None)  # a source may keep things only for those who watch
        try:
            await terms.source.ready(type_url, names)
            return write_whole(type_url, _found(terms.source.resources(type_url), names))
        finally:
            leave()

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
        response_serializer=bytes,
    )
    return handler


def _found(resources: Mapping[str, Resource], names: Collection[str]) -> Push:
    if not names or any(name not in resources for name in names):
        raise NotFound("resource", "a resource that was asked for does not exist")
    found = tuple(resources[name] for name in names)
    return Push(nonce="", version=joint_version(found), resources=found)
