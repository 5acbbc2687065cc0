"""The agent's own certificate: what the CA answered, read as if an enemy had written it.

`accept` is the one door from the wire to a certificate that is served to an Envoy. It never takes trust from
the answer: the path must end at a root that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.agent.bundle import Bundle
from meshca.agent.chain import UNREADABLE, fingerprint, to_pem, verify_path
from meshca.agent.keys import FreshKey
from meshca.errors import BadRequest, Unavailable
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.secret import Secret
from meshca.validity import ended, valid_at

E = TypeVar("E", x509.BasicConstraints, x509.ExtendedKeyUsage)

MOST_CERTIFICATES = 16  # a leaf, its intermediates and one element of roots; no sane CA has more


@dataclass(frozen=True, slots=True, kw_only=True)
class Svid:
    """A certificate with its key, both checked.

    Attributes:
        identity: its one SPIFFE ID.
        chain: PEM, leaf first, then intermediates, without the root.
        private: PKCS#8 PEM.
        serial: lower-case hexadecimal.
        not_before: start of validity.
        not_after: end of validity, of its issuers too.
        received_at: when it was accepted; half life counts from here, since NotBefore is backdated.
        signers: SHA-256 of the DER of every certificate above it, the root included.
    """

    identity: SpiffeId
    chain: str
    private: Secret[str]
    serial: str
    not_before: datetime
    not_after: datetime
    received_at: datetime
    signers: frozenset[str] = frozenset()

    def valid(self, now: datetime) -> bool:
        """Whether it may be shown to anybody at this instant."""
        return valid_at(self.not_before, self.not_after, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What we know of our own name before the answer; None is unknown.

    Attributes:
        identity: the exact SPIFFE ID (from flags, or held before: an identity never changes).
        account: the service account (from flags or from our own token's claims).
        trust_domain: the trust domain (from flags).
    """

    identity: SpiffeId | None = None
    account: ServiceAccount | None = None
    trust_domain: TrustDomain | None = None


def accept(unverified: Sequence[str], key: FreshKey, trusted: Bundle, expected: Expected, now: datetime) -> Svid:
    """Check a CreateCertificate answer: leaf first, then intermediates; the last element (roots) is not read.

    Checked: it parses, the leaf carries our public key, is a valid X.509-SVID (rules X1-X7), names whom we
    expect, and verifies now to a root that is handed in.

    Raises:
        Unavailable: reasons `bad_answer`, `wrong_key`, `wrong_identity`, `answer_expired`, `answer_not_yet_valid`,
            `untrusted_chain`. The CA may do better next time, so each can be tried again.
    """
    leaf, *intermediates = _parse(unverified)
    if _public_key(leaf) != key.public:
        raise Unavailable("wrong_key", "the certificate is not for the key that we asked for")
    identity = _identity(leaf)
    _check_expected(identity, expected)
    if ended(leaf.not_valid_after_utc, now):
        raise Unavailable(
            "answer_expired", "the certificate has expired already; compare this clock with the CA's"
        )
    if leaf.not_valid_before_utc > now:
        raise Unavailable(
            "answer_not_yet_valid", "the certificate is not valid yet; compare this clock with the CA's"
        )
    path = verify_path(leaf, intermediates, trusted.certificates, now)
    return Svid(
        identity=identity,
        chain=to_pem(path[:-1]),
        private=key.private,
        serial=f"{leaf.serial_number:x}",
        not_before=leaf.not_valid_before_utc,
        not_after=min(certificate.not_valid_after_utc for certificate in path),
        received_at=now,
        signers=frozenset(map(fingerprint, path[1:])),
    )


def answered_roots(unverified: Sequence[str]) -> str:
    """The last element of an answer, where Istio's contract puts the roots; empty when there is none."""
    return unverified[-1] if len(unverified) > 1 else ""


def _parse(unverified: Sequence[str]) -> list[x509.Certificate]:
    if not 2 <= len(unverified) <= MOST_CERTIFICATES:
        raise Unavailable(
            "bad_answer", f"expected 2 to {MOST_CERTIFICATES} elements (leaf, intermediates, roots) in the answer"
        )
    try:
        return [
            certificate
            for element in unverified[:-1]
            for certificate in x509.load_pem_x509_certificates(element.encode())
        ]
    except UNREADABLE:
        raise Unavailable("bad_answer", "an element of the answer is not a PEM certificate") from None


def _public_key(leaf: x509.Certificate) -> bytes:
    try:
        return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE:
        raise Unavailable("wrong_key", "the certificate's public key does not parse") from None


def _identity(leaf: x509.Certificate) -> SpiffeId:
    """The SPIFFE ID of a leaf that keeps the rules of X509-SVID.md.

    Raises:
        Unavailable: reason `bad_answer` or `wrong_identity`.
    """
    try:
        extensions = leaf.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        authority = _optional(extensions, x509.BasicConstraints)
        purposes = _optional(extensions, x509.ExtendedKeyUsage)
    except (*UNREADABLE, x509.ExtensionNotFound):
        raise Unavailable("bad_answer", "the leaf must have a SAN and a key usage that parse (X1, X5)") from None
    if (authority and authority.ca) or usage.value.key_cert_sign or usage.value.crl_sign:
        raise Unavailable("bad_answer", "the leaf must not be able to sign certificates or CRLs (X4, X6)")
    if not usage.critical or not usage.value.digital_signature:
        raise Unavailable(
            "bad_answer", "the leaf's key usage must be critical and allow digitalSignature (X5, X6)"
        )
    if purposes and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(purposes):
        raise Unavailable("bad_answer", "the leaf's extended key usage must allow both server and client (X7)")
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Unavailable("wrong_identity", "the leaf must have exactly one URI SAN (X1)")
    try:
        return SpiffeId.parse(uris[0])
    except BadRequest as error:
        raise Unavailable(
            "wrong_identity", f"the leaf's URI SAN is not a workload's SPIFFE ID: {error.detail}"
        ) from None


def _check_expected(identity: SpiffeId, expected: Expected) -> None:
    if expected.identity is not None and identity != expected.identity:
        raise Unavailable("wrong_identity", f"the CA answered for {identity}, expected {expected.identity}")
    if expected.trust_domain is not None and identity.trust_domain != expected.trust_domain:
        raise Unavailable("wrong_identity", f"the CA answered for {identity}, expected {expected.trust_domain}")
    if expected.account is None:
        return
    try:
        matches = identity.service_account() == expected.account
    except BadRequest:
        matches = False
    if not matches:
        raise Unavailable(
            "wrong_identity", f"the CA answered for {identity}, expected service account {expected.account}"
        )


def _optional(extensions: x509.Extensions, kind: type[E]) -> E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
