"""Envoy's messages that the agent makes and reads: certificates, roots, and the policy set it passes on.

What comes from the CA is checked here before it may be offered to an Envoy, because Envoy acknowledges things
that it cannot use. A body may hold the private key: it must never be logged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage
from google.protobuf.message import DecodeError

from meshca.agent.bundle import Bundle
from meshca.agent.svid import Svid
from meshca.config.resource_names import AUTHZ, ROOTCA
from meshca.discovery.event import Resource
from meshca.errors import Unavailable

RBAC_TYPE_URL = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
LARGEST_POLICIES = 2 * 1024 * 1024  # bytes; gRPC's own limit for a message is 4 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """A workload's authorization policies as one Envoy filter.

    Attributes:
        body: serialized TypedExtensionConfig.
        version: 32 hexadecimal characters of SHA-256 over the body.
    """

    body: bytes = field(repr=False)
    version: str


def certificate(name: str, svid: Svid) -> Resource:
    """The certificate and key under a name; the version is a hash of the chain, so it says nothing of the key."""
    message = SecretMessage(name=name)
    message.tls_certificate.certificate_chain.inline_bytes = svid.chain.encode()
    message.tls_certificate.private_key.inline_bytes = svid.private.reveal().encode()
    return Resource(name=name, version=_hash(svid.chain.encode()), body=message.SerializeToString())


def roots(name: str, bundle: Bundle) -> Resource:
    """The trust bundle under a name, as a validation context with `trusted_ca`."""
    message = SecretMessage(name=name)
    message.validation_context.trusted_ca.inline_bytes = bundle.pem.encode()
    return Resource(name=name, version=bundle.version, body=message.SerializeToString())


def policy_filter(policies: Policies) -> Resource:
    """The policy set as Envoy's extension configuration."""
    return Resource(name=AUTHZ, version=policies.version, body=policies.body)


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
    return Policies(body=unverified, version=_hash(unverified))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
