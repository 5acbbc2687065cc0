"""CA certificates of our own making: a root and the intermediates below it.

Every one has its own subject (two with one name would confuse path building), both key identifiers, and the
trust domain as URI SAN (rules X1, X4-X6 of X509-SVID.md for signing certificates).
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.public_key import PublicKey, allowed
from meshca.svid import signature

BACKDATE = timedelta(minutes=2)  # as leaves have, for clocks that run behind


def make_root(
    key: signature.SigningKey,
    trust_domain: TrustDomain,
    begin: datetime,
    end: datetime,
    *,
    for_istio: bool = False,
) -> x509.Certificate:
    """A self-signed root.

    Args:
        key: of the root.
        trust_domain: that it is for.
        begin: of its validity.
        end: of its validity.
        for_istio: with a subject and a key identifier that Istio's own rotation gives to its new root too. It
            keeps the organization only; with anything else what was signed before would not be found below it.
    """
    serial = x509.random_serial_number()
    unique = _unique(serial)
    # The `#` makes Go write the name as UTF-8, as we do: it compares names by their bytes.
    name = _name(f"meshca root #{unique}") if for_istio else _name("meshca", f"root {unique}")
    key_id = (_go_key_id if for_istio else x509.SubjectKeyIdentifier.from_public_key)(key.public_key())
    builder = (
        _builder(key.public_key(), trust_domain, name, serial, (begin, end))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_id, critical=False)
    )
    return builder.sign(key, signature.hash_for(key))


def make_intermediate(
    public_key: PublicKey,
    trust_domain: TrustDomain,
    root: x509.Certificate,
    root_key: signature.SigningKey,
    validity: tuple[datetime, datetime],
) -> x509.Certificate:
    """A signing certificate that may sign leaves only (path length 0)."""
    serial = x509.random_serial_number()
    name = _name("meshca", f"intermediate {_unique(serial)}")
    builder = (
        _builder(public_key, trust_domain, name, serial, validity)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_key(root), critical=False)
    )
    return builder.sign(root_key, signature.hash_for(root_key))


def intermediate_life(root: x509.Certificate, now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
    """The validity of an intermediate that begins now: it ends no later than its root."""
    return now - BACKDATE, min(now + lifetime, root.not_valid_after_utc)


def half_life(
    intermediate: x509.Certificate, root: x509.Certificate, margin: timedelta = timedelta(0)
) -> datetime | None:
    """When to make the next one; None when this lasts as long as its root: no other could last longer.

    Args:
        intermediate: that signs.
        root: above it, or whatever above it ends first.
        margin: how long before the root's end another would end.
    """
    begin, end = intermediate.not_valid_before_utc + BACKDATE, intermediate.not_valid_after_utc
    return None if end >= root.not_valid_after_utc - margin else begin + (end - begin) / 2


def audit(kind: str, certificate: x509.Certificate) -> None:
    """Log that we signed a CA certificate and keep it: such signatures are not in the ledger."""
    log.info(
        "ca.signed",
        kind=kind,
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_after=certificate.not_valid_after_utc.isoformat(),
    )


def _unique(serial: int) -> str:
    """The first 64 bits of a random serial: a subject with them is one that nobody else has."""
    return f"{serial >> 95:016x}"


def _name(organization: str, common_name: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
    if common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _go_key_id(public_key: PublicKey) -> x509.SubjectKeyIdentifier:
    """As Go names keys since 1.25: method 1 of RFC 7093, the first 160 bits of a SHA-256 of the key's bits."""
    encoding, form = (
        (Encoding.DER, PublicFormat.PKCS1)
        if isinstance(public_key, rsa.RSAPublicKey)
        else (Encoding.X962, PublicFormat.UncompressedPoint)
    )
    return x509.SubjectKeyIdentifier(hashlib.sha256(public_key.public_bytes(encoding, form)).digest()[:20])


def _issuer_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The root's own name of its key; one made of the key when it has none."""
    try:
        key_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(allowed(root.public_key())[0])
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _builder(
    public_key: PublicKey,
    trust_domain: TrustDomain,
    name: x509.Name,
    serial: int,
    validity: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(_USAGE, critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(trust_domain.id)]), critical=False
        )
    )


_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
