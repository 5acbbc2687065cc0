"""What every certificate under one signing certificate has in common."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from meshca.identity.spiffe_id import TrustDomain
from meshca.public_key import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Issuer:
    """The public side of a signer; the key that goes with it lives in `authority`.

    Attributes:
        signer_id: lower-case hexadecimal SHA-256 of the signing certificate; the ledger's name for it.
        certificate: the signing certificate.
        public_key: its key, of an allowed type.
        algorithm: how it signs.
        key_id: its subject key identifier, the authority key identifier of every certificate below it.
        trust_domain: the only trust domain that it signs for.
        not_before: the latest beginning among it and every issuer above it, the root included.
        not_after: the earliest end among it and every issuer above it, the root included.
        chain: PEM of the signing certificate and those above it, without the root.
        roots: PEM of all roots, one after the other.
    """

    signer_id: str
    certificate: x509.Certificate
    public_key: PublicKey
    algorithm: x509.ObjectIdentifier
    key_id: x509.SubjectKeyIdentifier
    trust_domain: TrustDomain
    not_before: datetime
    not_after: datetime
    chain: tuple[str, ...]
    roots: str
