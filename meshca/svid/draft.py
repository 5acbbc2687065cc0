"""A certificate on its way to its signature: drafted, linted, signed once, read back, compared.

ADR 10. Nothing that the lint has not passed can reach a signing key, because the key is
given only to `Draft.sign`, and only the two makers of drafts run the lint. Between draft and signature the
caller records its intent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshca import der
from meshca.admission.model import Grant
from meshca.csr import ProvenKey
from meshca.errors import Denied, InvariantBroken, Unavailable
from meshca.svid import lint
from meshca.svid.issuer import Issuer
from meshca.svid.template import Template
from meshca.svid.wanted import Wanted
from meshca.validity import begun, spent

Lint = Callable[[bytes], x509.Certificate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A signed certificate and what a client needs with it.

    Attributes:
        chain: PEM, one certificate each: the leaf, then every intermediate up to but without the root.
        roots: PEM of all roots, one after the other.
        serial: lower-case hexadecimal without leading zeros.
        not_before: in UTC.
        not_after: in UTC.
        signer: the id of the signing certificate.
    """

    chain: tuple[str, ...]
    roots: str
    serial: str
    not_before: datetime
    not_after: datetime
    signer: str = ""


class Draft:
    """A linted certificate that waits for its one signature.

    Attributes:
        issuer: who will sign; a draft can be signed by no other.
        serial: lower-case hexadecimal without leading zeros.
        not_before: in UTC.
        not_after: in UTC.
        tbs: the to-be-signed certificate, DER.
    """

    __slots__ = ("_algorithm", "_linted", "_spent", "issuer", "not_after", "not_before", "serial", "tbs")

    def __init__(self, wanted: Wanted, unsigned: bytes, passes: Lint) -> None:
        """Lint a whole certificate that a throw-away key signed, and keep its to-be-signed part.

        Raises:
            InvariantBroken: reason `lint`.
        """
        self._linted = passes(unsigned)
        self.tbs, self._algorithm, _ = der.children(unsigned)
        self.issuer = wanted.issuer
        self.serial = f"{wanted.serial:x}"
        self.not_before = wanted.not_before
        self.not_after = wanted.not_after
        self._spent = False

    def sign(self, key: Callable[[bytes], bytes]) -> Issued:
        """Spend the draft: sign it, read the certificate back, compare it with the linted one.

        Args:
            key: gives the issuer's signature over the bytes it is called with.

        Raises:
            InvariantBroken: reason `draft_spent`, `signed_changed` or `lint`; nothing may be given out.
        """
        if self._spent:
            raise InvariantBroken("draft_spent", f"the draft of serial {self.serial} was signed before")
        self._spent = True
        value = der.tlv(der.BIT_STRING, b"\0", key(self.tbs))
        leaf = lint.signed(der.tlv(der.SEQUENCE, self.tbs, self._algorithm, value), self._linted)
        return Issued(
            chain=(leaf.public_bytes(Encoding.PEM).decode(), *self.issuer.chain),
            roots=self.issuer.roots,
            serial=self.serial,
            not_before=self.not_before,
            not_after=self.not_after,
            signer=self.issuer.signer_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What every certificate gets from the moment in which it is drafted.

    Attributes:
        serial: freshly drawn, never used before.
        now: the present instant.
        backdate: how far NotBefore lies before now.
    """

    serial: int
    now: datetime
    backdate: timedelta


def draft(grant: Grant, key: ProvenKey, template: Template, lifetime: timedelta, stamp: Stamp) -> Draft:
    """Draft an X.509-SVID of the granted identity for a proven key.

    NotAfter is now plus the lifetime (decided by `profile.lifetime`), and no later than the end of any issuer
    above.

    Raises:
        Denied: reason `key_type`, when the grant does not include the key's type.
        Unavailable: reason `signer_not_begun` or `signer_expired`.
        InvariantBroken: reason `lifetime`, when it is longer than was granted, or `lint`.
    """
    if key.key_type not in grant.key_types:
        raise Denied("key_type", f"rule {grant.rule} does not grant keys of type {key.key_type}")
    if lifetime > grant.max_lifetime:
        raise InvariantBroken("lifetime", f"{lifetime} is longer than rule {grant.rule} grants")
    wanted = want(key, template.issuer, lifetime, stamp)
    tbs = template.fill(wanted, grant.identity)
    return Draft(wanted, template.unsigned(tbs), lambda made: lint.svid(made, wanted, grant.identity))


def want(key: ProvenKey, issuer: Issuer, lifetime: timedelta, stamp: Stamp) -> Wanted:
    """The facts of a leaf that begins now, cut to whole seconds and to the life of its issuers.

    Raises:
        Unavailable: reason `signer_not_begun` or `signer_expired`.
    """
    start = stamp.now.replace(microsecond=0)
    if not begun(issuer.not_before, start):
        begins = issuer.not_before.isoformat()
        raise Unavailable(
            "signer_not_begun", f"the signer {issuer.signer_id} begins at {begins}; check the clocks"
        )
    not_after = min(start + lifetime, issuer.not_after)
    if spent(not_after, start):
        raise Unavailable("signer_expired", f"the signer {issuer.signer_id} or an issuer above it has expired")
    return Wanted(
        key=key, issuer=issuer, serial=stamp.serial, not_before=start - stamp.backdate, not_after=not_after
    )
