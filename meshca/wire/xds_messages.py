"""xDS messages to plain values and back; the only place that touches the fields of discovery messages.

Sizes are bounded here, before anything is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from meshca.discovery.event import Event, Push
from meshca.discovery.session import MAX_NAMES, Session
from meshca.errors import BadRequest
from meshca.wire.node import Node, read_node

MAX_NAME = 2048 + 64  # characters; the longest name is a SPIFFE ID (SPIFFE-ID.md section 2.3)
MAX_ERROR = 1024  # characters of a client's error text that are kept
MAX_OPAQUE = 512  # characters of a nonce or version; ours are below 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What both variants have in common, and how the request is put to its session."""

    type_url: str
    node: Node | None
    put_to: Callable[[Session], tuple[Event, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the two protocol variants: how to read a request and how to write a push."""

    parse: Callable[[bytes], Any]
    read: Callable[[Any, Collection[str]], Request]
    write: Callable[[str, Push], bytes]


def read_whole(unverified: Any, types: Collection[str]) -> Request:  # noqa: ANN401 - DiscoveryRequest, untyped
    """Read a DiscoveryRequest.

    Args:
        unverified: the message.
        types: the type URLs served here; an empty type URL means the only one.

    Raises:
        BadRequest: reasons `type_url`, `resource_names`, `node`, `nonce`.
    """
    names = _names(unverified.resource_names)
    nonce, version = _opaque(unverified.response_nonce), _opaque(unverified.version_info)
    error = _error(unverified)
    return Request(
        type_url=_type_url(unverified.type_url, types),
        node=_node(unverified),
        put_to=lambda session: session.ask(names, nonce=nonce, version=version, error=error),
    )


def read_delta(unverified: Any, types: Collection[str]) -> Request:  # noqa: ANN401 - DeltaDiscoveryRequest
    """Read a DeltaDiscoveryRequest; arguments and errors as `read_whole`.

    `initial_resource_versions` is not looked at: a client that reconnects gets everything it subscribes to.
    """
    more, less = _names(unverified.resource_names_subscribe), _names(unverified.resource_names_unsubscribe)
    nonce = _opaque(unverified.response_nonce)
    error = _error(unverified)
    return Request(
        type_url=_type_url(unverified.type_url, types),
        node=_node(unverified),
        put_to=lambda session: session.amend(more, less, nonce=nonce, error=error),
    )


def write_whole(type_url: str, push: Push) -> bytes:
    """A serialized DiscoveryResponse."""
    bodies = [any_pb2.Any(type_url=type_url, value=resource.body) for resource in push.resources]
    message = discovery_pb2.DiscoveryResponse(
        version_info=push.version, resources=bodies, type_url=type_url, nonce=push.nonce
    )
    return bytes(message.SerializeToString())


def write_delta(type_url: str, push: Push) -> bytes:
    """A serialized DeltaDiscoveryResponse."""
    resources = [
        discovery_pb2.Resource(
            name=resource.name,
            version=resource.version,
            resource=any_pb2.Any(type_url=type_url, value=resource.body),
        )
        for resource in push.resources
    ]
    message = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=push.version, resources=resources, type_url=type_url, nonce=push.nonce
    )
    return bytes(message.SerializeToString())


WHOLE = Variant(parse=discovery_pb2.DiscoveryRequest.FromString, read=read_whole, write=write_whole)
DELTA = Variant(parse=discovery_pb2.DeltaDiscoveryRequest.FromString, read=read_delta, write=write_delta)


def _type_url(unverified: str, types: Collection[str]) -> str:
    if not unverified and len(types) == 1:
        return next(iter(types))
    if unverified not in types:
        raise BadRequest("type_url", f"type_url must be {' or '.join(sorted(types))}")
    return unverified


def _names(unverified: Sequence[str]) -> tuple[str, ...]:
    if len(unverified) > MAX_NAMES or any(not name or len(name) > MAX_NAME for name in unverified):
        raise BadRequest(
            "resource_names", f"expected at most {MAX_NAMES} resource names of 1 to {MAX_NAME} characters each"
        )
    return tuple(unverified)


def _opaque(unverified: str) -> str:
    if len(unverified) > MAX_OPAQUE:
        raise BadRequest("nonce", f"nonce and version must be at most {MAX_OPAQUE} characters")
    return unverified


def _error(message: Any) -> str | None:  # noqa: ANN401 - either request
    return str(message.error_detail.message)[:MAX_ERROR] if message.HasField("error_detail") else None


def _node(message: Any) -> Node | None:  # noqa: ANN401 - either request
    return read_node(message.node) if message.HasField("node") else None
