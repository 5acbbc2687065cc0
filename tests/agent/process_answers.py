"""What the tests of the whole agent read of its answers."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from meshca.discovery.event import Adopted
from meshca.wire.xds_streams import Notice


def roots_of(secret: Secret) -> str:
    """The bundle in a secret."""
    text: str = secret.validation_context.trusted_ca.inline_bytes.decode()
    return text


def adopted(notice: Notice, name: str) -> bool:
    """Whether the agent acknowledges this resource."""
    return isinstance(notice.event, Adopted) and name in notice.event.versions
