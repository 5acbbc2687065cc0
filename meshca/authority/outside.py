"""Leaves that somebody else signs in our place, and the judgement of what came back, checked as hostile.

Our own signer beside it drafts, so that what is asked for was linted and recorded before anybody is asked. It is
below the same issuer that signs the leaf: so the leaf is below the root that is active, and below no other. What
knows our own signer (the ledger, orders to renew) knows the leaf by it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca import csr
from meshca.authority.chain import leaf_signed_by
from meshca.authority.material import read_certificates, to_pem
from meshca.authority.slot import Slot, issuer_of
from meshca.errors import BadRequest, ConfigError, InvariantBroken, MeshcaError, Unavailable
from meshca.identity.spiffe_id import SpiffeId
from meshca.public_key import USUAL, is_usual
from meshca.svid import lint
from meshca.svid.draft import Draft, Issued
from meshca.svid.issuer import Issuer
from meshca.svid.wanted import Wanted

TOO_SHORT: Final = "long before"  # in the words of a leaf that ends too soon
_LATE: Final = "leaf_late"
PART: Final = 2  # of what was asked for a leaf must last: who renews at half would otherwise be late


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafWish:
    """A leaf that somebody else is asked to sign.

    Attributes:
        csr: PEM; only its key may count.
        identity: the one name.
        not_after: in UTC.
        issuer: who is to sign it (`name_and_key`).
    """

    csr: str = field(repr=False)
    identity: str
    not_after: datetime
    issuer: str


class LeafSigner(Protocol):
    """Signs leaves in our place."""

    async def sign(self, wish: LeafWish) -> str:
        """What it gives for a leaf, PEM, unverified.

        Raises:
            Unavailable: it gives none now.
        """
        ...

    def judged(self, identity: str, error: Unavailable | None) -> None:
        """What came of a leaf for this identity that it gave, or could not be asked for; None: it was given on.

        Whoever asks must tell, so that what is thrown away each time is shown and not asked for without a pause.
        """
        ...


class LeafSource(LeafSigner, Protocol):
    """Signs leaves in our place, and knows how that went."""

    @property
    def problem(self) -> MeshcaError | None:
        """Why the leaf that was asked for last could not be given on, or why several identities get none."""
        ...


def check_not_late(not_after: datetime, now: datetime) -> None:
    """A caller may want so little that it is over before it is signed: no answer can be right, whoever gives it.

    Raises:
        Unavailable: reason `leaf_late`; nobody but the caller is told.
    """
    if not_after <= now:
        ended = f"what was asked for ended at {not_after.isoformat()}, before it could be given"
        raise Unavailable(_LATE, f"{ended}: ask for more seconds")


@functools.lru_cache(maxsize=256)
def name_and_key(certificate: x509.Certificate) -> str:
    """Who signs by a certificate, as the signature tells it: the same when that was issued anew for one key."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(certificate.subject.public_bytes() + key).hexdigest()


def issuer_above(slot: Slot) -> Issuer:
    """Who signed our signer, and signs leaves in its place.

    Raises:
        Unavailable: reason `leaf_issuer`: our signer is a root, or the one above is not fit to sign leaves.
    """
    try:
        return issuer_of(slot.path[1:], slot.issuer.roots, slot.issuer.trust_domain)
    except (IndexError, BadRequest, x509.ExtensionNotFound):
        why = "what signs leaves is above our own signer, with a key identifier and a key of P-256, P-384 or RSA"
        raise Unavailable("leaf_issuer", why) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """One leaf that is to be signed outside.

    Attributes:
        slot: that drafted.
        draft: which is never signed; its limits hold.
        key: that is certified.
        identity: that was granted.
    """

    slot: Slot
    draft: Draft
    key: csr.ProvenKey
    identity: SpiffeId

    def wish(self, csr_pem: str) -> LeafWish:
        """What to ask for.

        Raises:
            Unavailable: reason `leaf_issuer`.
        """
        return LeafWish(
            csr=csr_pem,
            identity=str(self.identity),
            not_after=self.draft.not_after,
            issuer=name_and_key(issuer_above(self.slot).certificate),
        )

    def judge(self, unverified_pem: str, now: datetime) -> Issued:
        """The leaf, once nothing is wrong with it.

        Checked: one certificate; the proven key; exactly this identity, no CA, and every other rule of
        `svid.lint`; begins between the draft's beginning and now; has not ended, and ends no later than the draft,
        nor before half of what is left of that; signed by the issuer above our signer. Not checked: that its
        serial is new; the ledger sees that.

        Raises:
            Unavailable: reason `leaf_answer`, naming everything that is wrong; nothing may be given out. Or reason
                `leaf_issuer`, or `leaf_late`.
        """
        check_not_late(self.draft.not_after, now)
        issuer = issuer_above(self.slot)
        leaf = _read(unverified_pem)
        if problems := [*self._faults(leaf, issuer, now)]:
            raise wrong_leaf("; ".join(problems))
        return Issued(
            chain=(to_pem(leaf), *issuer.chain),
            roots=issuer.roots,
            serial=f"{leaf.serial_number:x}",
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            signer=self.draft.issuer.signer_id,
        )

    def _faults(self, leaf: x509.Certificate, issuer: Issuer, now: datetime) -> Iterator[str]:
        start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if not leaf_signed_by(leaf, issuer.certificate):
            yield f"it is not signed by {issuer.signer_id}"
        if end > self.draft.not_after:
            yield f"it ends at {end.isoformat()}, later than {self.draft.not_after.isoformat()}"
        if end <= now or end - now < (self.draft.not_after - now) / PART:
            yield f"it ends at {end.isoformat()}, {TOO_SHORT} {self.draft.not_after.isoformat()}"
        if not self.draft.not_before <= start <= now:
            yield f"it begins at {start.isoformat()}, too early or in the future: compare the clocks"
        if not is_usual(leaf):
            yield f"its public key is written so that other programs cannot read it: {USUAL}"
        wanted = Wanted(key=self.key, issuer=issuer, serial=leaf.serial_number, not_before=start, not_after=end)
        try:
            lint.svid(leaf.public_bytes(Encoding.DER), wanted, self.identity, lint.USAGE_EC)
        except InvariantBroken as broken:
            yield f"it breaks these rules: {broken.detail}"


@contextlib.contextmanager
def told(commission: Commission, signer: LeafSigner) -> Iterator[None]:
    """Whoever signs is told that what it is for or gave cannot be used, unless that is no doing of its own."""
    try:
        yield
    except Unavailable as error:
        if error.reason != _LATE:
            signer.judged(str(commission.identity), error)
        raise


def wrong_leaf(problem: str) -> Unavailable:
    """The refusal of what came back."""
    return Unavailable(
        "leaf_answer", f"the leaf that was signed in our place is not what was asked for: {problem}"
    )


def _read(unverified_pem: str) -> x509.Certificate:
    try:
        [leaf] = read_certificates(unverified_pem.encode(), "leaf")
    except (ConfigError, ValueError):
        raise wrong_leaf("it is not one certificate") from None
    return leaf
