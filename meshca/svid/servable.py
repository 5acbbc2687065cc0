"""The last check before a certificate, a key or roots are handed to an Envoy, which would not check them.

Reads everything back from the text that will be sent. It must never mend: what does not fit is not served.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from meshca.discovery.resources import KeyPair, TrustBundle
from meshca.errors import InvariantBroken
from meshca.secret import Secret
from meshca.svid.draft import Issued
from meshca.validity import ended, valid_at

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)


def servable_pair(issued: Issued, key: Secret[str], now: datetime) -> KeyPair:
    """A certificate with its key, as Envoy shall get it.

    Checked: the chain parses, each certificate of it is valid now, the key is the leaf's.
    Not checked: names and extensions (`svid.lint` did), the path to the root (the signer's slot did).

    Raises:
        InvariantBroken: reason `not_servable`.
    """
    chain = "".join(issued.chain)
    certificates = _certificates(chain)
    leaf = certificates[0]
    if not all(_valid(certificate, now) for certificate in certificates):
        raise InvariantBroken("not_servable", "a certificate of the chain is not valid now")
    if _public(leaf) != _public_of(key):
        raise InvariantBroken("not_servable", "the key does not belong to the certificate")
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    return KeyPair(
        serial=f"{leaf.serial_number:x}",
        chain=chain,
        key=key,
        not_before=leaf.not_valid_before_utc,
        not_after=ends,
        signers=frozenset({issued.signer}),
    )


def servable_roots(pem: str, now: datetime) -> TrustBundle:
    """Root certificates as Envoy shall get them.

    Checked: each parses and is a CA, at least one has not expired.

    Raises:
        InvariantBroken: reason `not_servable`.
    """
    certificates = _certificates(pem)
    if not all(_is_ca(certificate) for certificate in certificates):
        raise InvariantBroken("not_servable", "a root is not a CA certificate")
    if all(ended(certificate.not_valid_after_utc, now) for certificate in certificates):
        raise InvariantBroken("not_servable", "every root has expired")
    return TrustBundle(pem=pem)


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except _UNREADABLE:
        raise InvariantBroken("not_servable", "a certificate does not parse") from None


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return valid_at(certificate.not_valid_before_utc, certificate.not_valid_after_utc, now)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (*_UNREADABLE, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType):
        return False


def _public(leaf: x509.Certificate) -> bytes:
    return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_of(key: Secret[str]) -> bytes:
    try:
        private = load_pem_private_key(key.reveal().encode(), None)
    except _UNREADABLE:
        raise InvariantBroken("not_servable", "the key does not parse") from None
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
