"""Reads a finished certificate back and holds it against what it had to be.

It parses the DER with the library's parser and shares no code with what makes certificates (`svid.template`,
`svid.blueprint`), so that one mistake cannot hide in both. It must never mend anything: a broken rule is a
fault of ours, and nothing is given out. Not checked: the signature's value (the trial leaf of a new signer
proves that its key and certificate belong together).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.errors import InvariantBroken
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid.wanted import Wanted

CRITICAL, NOT_CRITICAL = True, False
NO_OTHER = "no other extension"
Expected = tuple[tuple[str, x509.ExtensionType, bool], ...]
SERIAL_BITS = range(128, 160)  # at least 127 random ones; RFC 5280 section 4.1.2.2: positive, 20 octets


def _usage(*, key_encipherment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, key_encipherment, False, False, False, False, False, False)


_BOTH_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_NOT_A_CA = x509.BasicConstraints(ca=False, path_length=None)
USAGE_RSA = _usage(key_encipherment=True)
USAGE_EC = _usage(key_encipherment=False)


def svid(
    certificate_der: bytes, wanted: Wanted, identity: SpiffeId, usage: x509.KeyUsage | None = None
) -> x509.Certificate:
    """Every rule over one X.509-SVID: X1 to X7 of X509-SVID.md and those of every leaf.

    Args:
        certificate_der: what was made.
        wanted: what it must say.
        identity: that it must name.
        usage: that it must have; that of our own profile when None.

    Returns:
        The certificate as it was read back.

    Raises:
        InvariantBroken: reason `lint`, naming every broken rule.
    """
    if identity.trust_domain != wanted.issuer.trust_domain:
        raise InvariantBroken("lint", "X1: the SPIFFE ID is not of the trust domain that the issuer signs for")
    name = x509.UniformResourceIdentifier(str(identity))
    return leaf(certificate_der, wanted, x509.SubjectAlternativeName([name]), _BOTH_PURPOSES, usage)


def leaf(
    certificate_der: bytes,
    wanted: Wanted,
    names: x509.SubjectAlternativeName,
    purposes: x509.ExtendedKeyUsage,
    usage: x509.KeyUsage | None = None,
) -> x509.Certificate:
    """Every rule over any leaf; these names and purposes and no others.

    Returns:
        The certificate as it was read back.

    Raises:
        InvariantBroken: reason `lint`, naming every broken rule.
    """
    certificate = _read(certificate_der)
    try:
        found = {extension.oid: extension for extension in certificate.extensions}
    except (ValueError, x509.DuplicateExtension):
        raise InvariantBroken("lint", "an extension of what was made is malformed or occurs twice") from None
    key = certificate.public_key()
    usage = usage or (USAGE_RSA if isinstance(key, rsa.RSAPublicKey) else USAGE_EC)
    key_id = x509.SubjectKeyIdentifier(wanted.key.key_id)
    expected: Expected = (
        ("X1 X2 X3: exactly the names granted, critical", names, CRITICAL),
        ("X4: not a CA, critical", _NOT_A_CA, CRITICAL),
        ("X5 X6: digital signature (RSA: and key encipherment), critical", usage, CRITICAL),
        ("X7: exactly the purposes of the profile", purposes, NOT_CRITICAL),
        ("its own key identifier", key_id, NOT_CRITICAL),
        ("its issuer's key identifier", _authority(wanted.issuer.key_id.digest), NOT_CRITICAL),
    )
    rules = [
        ("the proven key", key == wanted.key.public_key),
        *_field_rules(certificate, wanted),
        *_extension_rules(found, expected),
    ]
    if broken := [rule for rule, holds in rules if not holds]:
        raise InvariantBroken("lint", "; ".join(broken))
    return certificate


def signed(certificate_der: bytes, linted: x509.Certificate) -> x509.Certificate:
    """Every rule over a signed certificate, by comparison with one that passed them under another signature.

    The rules are about the to-be-signed bytes and the signature algorithm; where both are equal, what held for
    the one holds for the other.

    Returns:
        The certificate as it was read back.

    Raises:
        InvariantBroken: reason `lint` when it cannot be read, `signed_changed` when it differs.
    """
    certificate = _read(certificate_der)
    if (
        certificate.tbs_certificate_bytes != linted.tbs_certificate_bytes
        or certificate.signature_algorithm_oid != linted.signature_algorithm_oid
    ):
        raise InvariantBroken(
            "signed_changed", f"what was signed for serial {linted.serial_number:x} is not what was linted"
        )
    return certificate


def _read(certificate_der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate_der)
    except (ValueError, x509.InvalidVersion):
        raise InvariantBroken("lint", "what was made is not a certificate") from None


@functools.lru_cache(maxsize=8)
def _authority(digest: bytes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(digest, None, None)


def _field_rules(certificate: x509.Certificate, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """The rules over everything outside the extensions but the key."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    yield "version 3", certificate.version is x509.Version.v3
    yield "the serial that was drawn", certificate.serial_number == wanted.serial
    yield "a serial of 128 to 159 bits", certificate.serial_number.bit_length() in SERIAL_BITS
    yield "the issuer's name", certificate.issuer == wanted.issuer.certificate.subject
    yield "the issuer's signature algorithm", certificate.signature_algorithm_oid == wanted.issuer.algorithm
    yield "an empty subject", not certificate.subject.rdns
    yield "the validity that was drafted", (start, end) == (wanted.not_before, wanted.not_after)
    yield "begins before it ends", start < end
    yield "ends no later than any issuer", end <= wanted.issuer.not_after


def _extension_rules(
    found: Mapping[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]], expected: Expected
) -> Iterator[tuple[str, bool]]:
    """One rule for each expected extension, and that there is no other."""
    for rule, value, critical in expected:
        extension = found.get(value.oid)
        yield rule, extension is not None and extension.critical is critical and extension.value == value
    yield NO_OTHER, len(found) <= len(expected)
