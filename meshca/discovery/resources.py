"""The bodies of the resources that we push, and their versions: two messages of Envoy's, and our order.

Envoy acknowledges an expired certificate, a bundle of expired roots and even garbage while another secret is
missing, so only values that were checked may come in (`KeyPair`, `TrustBundle`); their makers check, this
module does not. A body may hold a private key: it must never be logged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage

from meshca._proto.meshca.v1.order_pb2 import RenewalOrder as OrderMessage
from meshca.config.resource_names import AUTHZ, ORDER
from meshca.discovery.event import Resource
from meshca.discovery.order import RenewalOrder
from meshca.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate with its key, checked: they match, and the certificate is valid now.

    Made only by `svid.servable` (the CA) and `agent.holding` (from an accepted answer).

    Attributes:
        serial: of the leaf, lower-case hexadecimal.
        chain: PEM, leaf first, then intermediates, without the root.
        key: PKCS#8 PEM.
        not_before: start of validity.
        not_after: end of validity.
        signers: SHA-256 of the DER of what signed it, which an order may name; none where nobody looks.
    """

    serial: str
    chain: str
    key: Secret[str]
    not_before: datetime
    not_after: datetime
    signers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBundle:
    """Root certificates, checked: each is a CA, not all have expired.

    Made only by `svid.servable` (the CA) and `agent.holding` (from an accepted answer).

    Attributes:
        pem: the certificates, one after the other.
    """

    pem: str


def certificate(name: str, pair: KeyPair) -> Resource:
    """A `tls_certificate` Secret; its version is the leaf's serial, so an acknowledgement says which is in use."""

    def body(mark: str = "") -> bytes:
        message = SecretMessage(name=name)
        message.tls_certificate.certificate_chain.inline_bytes = _marked(pair.chain, mark)
        message.tls_certificate.private_key.inline_bytes = pair.key.reveal().encode()
        return bytes(message.SerializeToString())

    return Resource(name=name, version=pair.serial, body=body(), anew=body)


def roots(name: str, bundle: TrustBundle) -> Resource:
    """A `validation_context` Secret with `trusted_ca`; the same bundle has the same version under each name."""

    def body(mark: str = "") -> bytes:
        message = SecretMessage(name=name)
        message.validation_context.trusted_ca.inline_bytes = _marked(bundle.pem, mark)
        return bytes(message.SerializeToString())

    return Resource(name=name, version=content_hash(bundle.pem.encode()), body=body(), anew=body)


def policies(body: bytes) -> Resource:
    """The authorization policies of a workload: a TypedExtensionConfig made by `authz.compile`."""
    return Resource(name=AUTHZ, version=content_hash(body), body=body)


def order(wanted: RenewalOrder) -> Resource:
    """Which leaves are to be replaced; the same order has the same version on every replica."""
    message = OrderMessage(signers=sorted(wanted.signers))
    message.begun_at.FromDatetime(wanted.begun_at)
    message.window.FromTimedelta(wanted.window)
    body = message.SerializeToString()
    return Resource(name=ORDER, version=content_hash(body), body=body)


def content_hash(content: bytes) -> str:
    """32 hexadecimal characters of SHA-256: equal on every replica, never equal for different content."""
    return hashlib.sha256(content).hexdigest()[:32]


def _marked(pem: str, mark: str) -> bytes:
    """With a line before the first certificate, which readers of PEM pass over (RFC 7468, section 2)."""
    return f"# {mark}\n{pem}".encode() if mark else pem.encode()
