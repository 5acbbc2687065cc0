"""A trust bundle: the root certificates of the mesh, parsed and checked once.

Envoy acknowledges expired roots and even garbage, so nothing may reach it as a bundle that did not pass
here. This module must never decide whether a bundle may replace another; `trust` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from meshca.agent.chain import UNREADABLE, fingerprint, is_signer, to_pem
from meshca.discovery.resources import content_hash
from meshca.errors import Unavailable
from meshca.validity import ended

LARGEST = 1024 * 1024  # bytes; some 700 roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Root certificates without duplicates, ordered by fingerprint, so that equal sets have equal text.

    Attributes:
        certificates: one or more CA certificates.
        pem: the same as text.
    """

    certificates: tuple[x509.Certificate, ...]
    pem: str

    @property
    def version(self) -> str:
        """The content version under which Envoys get it."""
        return content_hash(self.pem.encode())

    def shares_a_root_with(self, other: Bundle) -> bool:
        """Whether who trusts one of them can go over to the other without a gap."""
        held = set(map(fingerprint, other.certificates))
        return any(fingerprint(root) in held for root in self.certificates)

    def expired(self, now: datetime) -> bool:
        """Whether every root has ended."""
        return all(ended(root.not_valid_after_utc, now) for root in self.certificates)


def parse_bundle(unverified: str | bytes, now: datetime) -> Bundle:
    """Read PEM root certificates.

    Checked: at least one, each parses, each is a CA that may sign certificates, not all have expired.
    Not checked: that anybody trusts them.

    Raises:
        Unavailable: reason `bad_bundle`.
    """
    raw = unverified.encode() if isinstance(unverified, str) else unverified
    if len(raw) > LARGEST:
        raise Unavailable("bad_bundle", f"the root bundle must have at most {LARGEST} bytes")
    try:
        certificates = x509.load_pem_x509_certificates(raw)
        signers = all(is_signer(certificate) for certificate in certificates)
    except UNREADABLE:
        raise Unavailable(
            "bad_bundle", "the root bundle must be one or more PEM certificates, all of which parse"
        ) from None
    if not signers:
        raise Unavailable(
            "bad_bundle", "each certificate of the root bundle must be a CA that may sign certificates"
        )
    return bundle_of(certificates, now)


def bundle_of(certificates: list[x509.Certificate], now: datetime) -> Bundle:
    """A bundle of certificates that are known to be CAs.

    Raises:
        Unavailable: reason `bad_bundle`, when all of them have expired.
    """
    by_digest = {fingerprint(certificate): certificate for certificate in certificates}
    ordered = tuple(by_digest[digest] for digest in sorted(by_digest))
    bundle = Bundle(certificates=ordered, pem=to_pem(ordered))
    if bundle.expired(now):
        raise Unavailable("bad_bundle", "every certificate of the root bundle has expired; check the clock")
    return bundle
