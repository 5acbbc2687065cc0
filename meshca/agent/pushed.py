"""Reads the messages that the CA pushes: roots, orders to renew, and the policy set that is passed on as it is.

They are checked before they may be offered to an Envoy, because Envoy acknowledges things that it cannot use.
Nothing is believed for having come over the CA's stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage
from google.protobuf.message import DecodeError

from meshca._proto.meshca.v1.order_pb2 import RenewalOrder as OrderMessage
from meshca.config.resource_names import AUTHZ, LARGEST_POLICIES, ROOTCA
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import content_hash
from meshca.errors import BadRequest, Unavailable

RBAC_TYPE_URL = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """A workload's authorization policies as one Envoy filter.

    Attributes:
        body: serialized TypedExtensionConfig.
        version: 32 hexadecimal characters of SHA-256 over the body.
    """

    body: bytes = field(repr=False)
    version: str


def read_roots(unverified: bytes) -> bytes:
    """The PEM text of a Secret named ROOTCA; whether it is a bundle is not checked here.

    Raises:
        Unavailable: reason `bad_bundle`.
    """
    try:
        message = SecretMessage.FromString(unverified)
    except DecodeError:
        raise Unavailable("bad_bundle", "the roots that the CA pushed are no Secret message") from None
    if message.name != ROOTCA or message.WhichOneof("type") != "validation_context":
        raise Unavailable("bad_bundle", f"expected a validation context named {ROOTCA} from the CA")
    source = message.validation_context.trusted_ca
    return bytes(source.inline_bytes or source.inline_string.encode())


def read_policies(unverified: bytes) -> Policies:
    """A policy set: one extension configuration of the expected name that holds an RBAC filter.

    Raises:
        Unavailable: reason `bad_policies`. What the filter says is Envoy's to check, and it says when it refuses.
    """
    if len(unverified) > LARGEST_POLICIES:
        raise Unavailable("bad_policies", f"the policy set must have at most {LARGEST_POLICIES} bytes")
    try:
        message = TypedExtensionConfig.FromString(unverified)
    except DecodeError:
        raise Unavailable("bad_policies", "the policy set that the CA pushed is no TypedExtensionConfig") from None
    if message.name != AUTHZ or message.typed_config.type_url != RBAC_TYPE_URL:
        raise Unavailable("bad_policies", f"expected an RBAC filter named {AUTHZ} from the CA")
    return Policies(body=unverified, version=content_hash(unverified))


def read_order(unverified: bytes) -> RenewalOrder:
    """Which leaves are to be replaced.

    Raises:
        Unavailable: reason `bad_order`.
    """
    try:
        message = OrderMessage.FromString(unverified)
        return RenewalOrder(
            signers=frozenset(message.signers),
            begun_at=message.begun_at.ToDatetime(UTC),
            window=message.window.ToTimedelta(),
        )
    except BadRequest as error:
        raise Unavailable("bad_order", error.detail) from None
    except (DecodeError, ValueError, OverflowError):
        raise Unavailable(
            "bad_order", "the order that the CA pushed is no RenewalOrder with a time and a window"
        ) from None
