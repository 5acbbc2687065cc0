"""CA certificates of our own making: a root and the intermediates below it.

Every one has its own subject (two with one name would confuse path building), both key identifiers, and the
trust domain as URI SAN (rules X1, X4-X6 of X509-SVID.md for signing certificates).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from meshca import csr
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
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
        for_istio: with a subject that Istio's own rotation keeps as it is. It keeps the organization only, and
            what was signed before would not be found below another subject.
    """
    serial = x509.random_serial_number()
    unique = f"root {_unique(serial)}"
    name = _name(f"meshca {unique}") if for_istio else _name("meshca", unique)
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
    name = _name("meshca", f"intermediate {_unique(serial)}")
    builder = (
        _builder(public_key, trust_domain, name, serial, validity)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_issuer_key(root), critical=False)
    )
    return builder.sign(root_key, signature.hash_for(root_key))


def intermediate_life(root: x509.Certificate, now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
    """The validity of an intermediate that begins now: it ends no later than its root."""
    return now - BACKDATE, min(now + lifetime, root.not_valid_after_utc)


def half_life(intermediate: x509.Certificate, root: x509.Certificate) -> datetime | None:
    """When to make the next one; None when this lasts as long as its root: no other could last longer."""
    begin, end = intermediate.not_valid_before_utc + BACKDATE, intermediate.not_valid_after_utc
    return None if end >= root.not_valid_after_utc else begin + (end - begin) / 2


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


def _issuer_key(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The root's own name of its key; one made of the key when it has none."""
    try:
        key_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(csr.allowed(root.public_key())[0])
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


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
