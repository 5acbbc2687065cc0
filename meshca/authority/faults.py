"""Everything that can be wrong with signing material, found at once and said in an operator's words.

Checked: the key is that of the signing certificate; key types; one path by signature from it to a
self-signed root and nothing beside it; and for every certificate of the path: validity now, CA, path length,
key usage, purposes, key identifier, SPIFFE ID. Not checked: revocation, and name constraints (the trial leaf
of `authority.slot` meets those). Roots beside the path must be self-signed CAs; they may have expired, since
an old one in a bundle harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.authority.chain import find_path, signed_by
from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SCHEME, TrustDomain
from meshca.public_key import USUAL, allowed, is_usual
from meshca.svid.signature import SigningKey
from meshca.validity import spent

_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_BOTH = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
Ext = TypeVar("Ext", bound=x509.ExtensionType)


def find_faults(  # noqa: PLR0913 - the parts of signing material, and for whom
    certificates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    key: SigningKey | None,
    trust_domain: TrustDomain,
    now: datetime,
    *,
    below: int = 0,
) -> list[str]:
    """One line for each fault; empty when there is none.

    Args:
        certificates: the signing certificate, then in any order what stands above it; none if unreadable.
        roots: what clients shall trust; none if unreadable.
        key: the private key; None if unreadable, so that the other faults are found all the same.
        trust_domain: that it shall sign for.
        now: the present instant.
        below: how many CA certificates shall stand below the first: 1 when it signs an intermediate of ours.
    """
    faults = [*_root_faults(roots)]
    if certificates:
        signing, *others = certificates
        faults += [*_key_faults(signing, key), *_domain_faults(signing, trust_domain)]
        faults += _path_faults(signing, others, roots, now, below)
    return faults


def _root_faults(roots: Sequence[x509.Certificate]) -> Iterator[str]:
    for root in roots:
        if not signed_by(root, root):
            yield f"{_name(root)}: not self-signed; every root must be, or some verifiers refuse its chains"
        if not _constraints(root).ca:
            yield f"{_name(root)}: a root but not a CA; it needs basicConstraints CA:TRUE"


def _key_faults(signing: x509.Certificate, key: SigningKey | None) -> Iterator[str]:
    if key is not None and key.public_key() != signing.public_key():
        yield f"{_name(signing)}: the private key is not its own; put key and certificate together"
    try:
        allowed(signing.public_key())
    except BadRequest as refused:
        yield f"{_name(signing)}: {refused.detail}"


def _path_faults(
    signing: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    now: datetime,
    below: int,
) -> Iterator[str]:
    path = find_path(signing, others, roots)
    for stray in [certificate for certificate in others if path and certificate not in {*path, *roots}]:
        yield f"{_name(stray)}: not on the path from the signing certificate to a root; take it out"
    if roots and not path:
        yield f"{_name(signing)}: no chain of signatures leads from it to a root; add what is missing"
    for depth, certificate in enumerate(path or [signing], below):  # its own faults are told without a path too
        is_root = certificate in roots
        for fault in [*_time_faults(certificate, now), *_ca_faults(certificate, depth, is_root=is_root)]:
            yield f"{_name(certificate)}: {fault}"


def _time_faults(certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    if spent(certificate.not_valid_after_utc, now):
        yield f"expired at {certificate.not_valid_after_utc.isoformat()}; renew it"
    if now < certificate.not_valid_before_utc:
        yield f"not valid before {certificate.not_valid_before_utc.isoformat()}; check the clocks or wait"


def _ca_faults(certificate: x509.Certificate, below: int, *, is_root: bool) -> Iterator[str]:
    """What keeps a certificate from standing above so many other CA certificates and a leaf (RFC 5280 6.1.4)."""
    if not is_usual(certificate):
        yield f"its public key is written so that other programs cannot read it: {USUAL}"
    constraints = _constraints(certificate)
    if not constraints.ca:
        yield "not a CA; it needs basicConstraints CA:TRUE"
    if constraints.path_length is not None and constraints.path_length < below:
        yield f"its path length {constraints.path_length} allows fewer than the {below} CA certificates below it"
    usage = _find(certificate, x509.KeyUsage)
    if usage is None and not is_root:  # X5 of X509-SVID.md; roots of OpenSSL's defaults have none
        yield "no key usage; it needs keyCertSign"
    if usage is not None and not usage.key_cert_sign:
        yield "its key usage does not include keyCertSign"
    purposes = _find(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and _ANY not in purposes and not _BOTH.issubset(purposes):
        yield "its extended key usage must be absent or include serverAuth and clientAuth"
    # RFC 5280 section 4.2.1.2 asks it of every CA; roots of Istio before 1.8 have none, and verifiers do without.
    if _find(certificate, x509.SubjectKeyIdentifier) is None and not (is_root and below):
        yield "no subject key identifier; make it with one"


def _domain_faults(certificate: x509.Certificate, trust_domain: TrustDomain) -> Iterator[str]:
    """X1 of X509-SVID.md: the SPIFFE ID of a signing certificate, if any, is its trust domain's."""
    names = _find(certificate, x509.SubjectAlternativeName)
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    for uri in uris:
        if uri.startswith(SCHEME) and uri != trust_domain.id:
            yield f"{_name(certificate)}: its SPIFFE ID must be {trust_domain.id}, as it signs for that"


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    return _find(certificate, x509.BasicConstraints) or x509.BasicConstraints(ca=False, path_length=None)


def _find(certificate: x509.Certificate, kind: type[Ext]) -> Ext | None:
    return next((e.value for e in certificate.extensions if isinstance(e.value, kind)), None)


def _name(certificate: x509.Certificate) -> str:
    return f"certificate {certificate.subject.rfc4514_string()!r}"
