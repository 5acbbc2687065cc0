"""CA certificates of our own making: a root and the intermediates below it.

Every one has its own subject (two with one name would confuse path building), both key identifiers, and the
trust domain as URI SAN (rules X1, X4-X6 of X509-SVID.md for signing certificates).
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshca import csr
from meshca.identity.spiffe_id import TrustDomain
from meshca.svid import signature


def make_root(
    key: signature.SigningKey, trust_domain: TrustDomain, begin: datetime, end: datetime
) -> x509.Certificate:
    """A self-signed root."""
    serial = x509.random_serial_number()
    name = _name("root", serial)
    builder = _builder(key.public_key(), trust_domain, name, serial, (begin, end))
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    builder = builder.issuer_name(name).add_extension(constraints, critical=True)
    return builder.sign(key, signature.hash_for(key))


def make_intermediate(
    public_key: csr.PublicKey,
    trust_domain: TrustDomain,
    root: x509.Certificate,
    root_key: signature.SigningKey,
    validity: tuple[datetime, datetime],
) -> x509.Certificate:
    """A signing certificate that may sign leaves only (path length 0)."""
    serial = x509.random_serial_number()
    key_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(public_key, trust_domain, _name("intermediate", serial), serial, validity)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
    )
    return builder.sign(root_key, signature.hash_for(root_key))


def _name(kind: str, serial: int) -> x509.Name:
    """A subject that nobody else has: the first 64 bits of the random serial are in it."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshca"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{kind} {serial >> 95:016x}"),
        ]
    )


def _builder(
    public_key: csr.PublicKey,
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
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
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
