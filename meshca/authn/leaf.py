"""A caller's certificate, read as hostile: exactly one library door, exactly one set of exceptions.

The TLS handshake verified the chain against our roots, once. What is checked here, at every call, is what the
handshake does not know or what time changes: validity now, the SPIFFE profile (rules X1-X7 of X509-SVID.md),
and whose identity it is. Not checked here: the chain, and whether we issued it to this key (so says the lineage).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.spiffe_id import SpiffeId
from meshca.validity import ended

MAX_PEM_BYTES = 64 * 1024  # a leaf is about 1 KB; more is an attempt to keep the parser busy
_BEGIN = b"-----BEGIN "
# All that cryptography 50 documents or shows under mutation. The warning (serial number not positive) is an
# exception only where warnings are errors; elsewhere the serial itself is checked below.
_MALFORMED = (
    ValueError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    CryptographyDeprecationWarning,
)
E_ = TypeVar("E_", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a certificate that keeps the profile says.

    Attributes:
        identity: its one SPIFFE ID, of any trust domain.
        serial: lower-case hexadecimal, without leading zeros.
        key_sha256: of its SubjectPublicKeyInfo (DER), lower-case hexadecimal.
        not_before: first instant of its validity.
        not_after: last instant of its validity.
    """

    identity: SpiffeId
    serial: str
    key_sha256: str
    not_before: datetime
    not_after: datetime

    def check_valid(self, now: datetime) -> None:
        """Refuse a certificate that is not valid at this instant; no leeway, we set NotBefore back ourselves.

        Raises:
            Unauthenticated: reason `cert_not_yet_valid` or `cert_expired`.
        """
        if now < self.not_before:
            raise Unauthenticated("cert_not_yet_valid", f"valid from {self.not_before.isoformat()}")
        if ended(self.not_after, now):
            raise Unauthenticated("cert_expired", f"ended at {self.not_after.isoformat()}")


def read_leaf(unverified: bytes) -> Leaf:
    """Read one PEM certificate.

    Raises:
        Unauthenticated: reason `cert_malformed` (not one certificate), `cert_profile` (rules X1 and X3-X7) or
            `cert_uri` (its URI is not a workload's SPIFFE ID, rule X2).
    """
    if len(unverified) > MAX_PEM_BYTES or unverified.count(_BEGIN) != 1:
        raise Unauthenticated("cert_malformed", f"expected one PEM certificate of at most {MAX_PEM_BYTES} bytes")
    try:
        certificate = x509.load_pem_x509_certificate(unverified)
        extensions = certificate.extensions
        serial = certificate.serial_number
        empty_subject = not certificate.subject.rdns
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _MALFORMED:
        raise Unauthenticated("cert_malformed", "the certificate can not be parsed") from None
    if serial <= 0:
        raise Unauthenticated("cert_malformed", "the serial number must be positive")
    _check_profile(extensions, empty_subject=empty_subject)
    return Leaf(
        identity=_identity(extensions),
        serial=format(serial, "x"),
        key_sha256=hashlib.sha256(key).hexdigest(),
        not_before=not_before,
        not_after=not_after,
    )


def _check_profile(extensions: x509.Extensions, *, empty_subject: bool) -> None:
    for extension in extensions:
        # RFC 5280 section 4.2: whoever does not know a critical extension must reject the certificate.
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise Unauthenticated("cert_profile", "a critical extension is unknown")
    names = _required(extensions, x509.SubjectAlternativeName)
    if empty_subject and not names.critical:
        raise Unauthenticated("cert_profile", "X3: with an empty subject the SAN must be critical")
    if _required(extensions, x509.BasicConstraints).value.ca:
        raise Unauthenticated("cert_profile", "X4: a CA certificate proves no workload")
    usage = _required(extensions, x509.KeyUsage)
    if not usage.critical:
        raise Unauthenticated("cert_profile", "X5: key usage must be critical")
    if not usage.value.digital_signature or usage.value.key_cert_sign or usage.value.crl_sign:
        raise Unauthenticated("cert_profile", "X6: key usage must be for signatures, not for certificates or CRLs")
    _check_extended_usage(extensions)


def _check_extended_usage(extensions: x509.Extensions) -> None:
    try:
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return  # X7 is a SHOULD
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= usages:
        raise Unauthenticated("cert_profile", "X7: extended key usage must hold both serverAuth and clientAuth")


def _identity(extensions: x509.Extensions) -> SpiffeId:
    names = _required(extensions, x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Unauthenticated("cert_profile", f"X1: expected exactly one URI SAN, found {len(uris)}")
    try:
        return SpiffeId.parse(uris[0])
    except BadRequest as error:
        raise Unauthenticated("cert_uri", error.detail) from None


def _required(extensions: x509.Extensions, kind: type[E_]) -> x509.Extension[E_]:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        raise Unauthenticated("cert_profile", f"the extension {kind.__name__} is missing") from None
