"""Drafts: the facts of a certificate, and that it is signed once and as it was linted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.slot import Slot
from meshca.errors import Denied, InvariantBroken, Unavailable
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from meshca.svid import lint
from meshca.svid.draft import Draft, Stamp, draft, want
from meshca.svid.wanted import Wanted
from tests.fakes.pki import DAY, NOW, WEB, ec_key, good_slot, grant_of, proven_key, rsa_key

SLOT = good_slot()
HOUR = timedelta(hours=1)
BACKDATE = timedelta(minutes=2)
SERIAL = 1 << 140 | 0xABC
STAMP = Stamp(serial=SERIAL, now=NOW, backdate=BACKDATE)


def drafted(lifetime: timedelta = HOUR, key_type: KeyType = KeyType.EC_P256) -> Draft:
    """A draft for the web shop."""
    return draft(grant_of(), proven_key(key_type), SLOT.templates[key_type], lifetime, STAMP)


def leaf_of(chain: tuple[str, ...]) -> x509.Certificate:
    """The first certificate of a chain."""
    return x509.load_pem_x509_certificate(chain[0].encode())


class TestValidity:
    """`want`: from when and until when."""

    def test_signer_of_a_clock_that_was_ahead(self) -> None:
        """A signer that begins later drafts nothing: nobody would accept its certificates yet."""
        stamp = Stamp(serial=SERIAL, now=SLOT.issuer.not_before - timedelta(seconds=1), backdate=BACKDATE)
        with pytest.raises(Unavailable) as refused:
            draft(grant_of(), KEY, SLOT.templates[KeyType.EC_P256], HOUR, stamp)
        assert refused.value.reason == "signer_not_begun"

    @pytest.mark.parametrize(
        ("asked", "granted", "expected"),
        [
            pytest.param(HOUR, DAY, HOUR, id="lifetime"),
            pytest.param(60 * DAY, 60 * DAY, 30 * DAY, id="issuer"),
        ],
    )
    def test_shortest_wins(self, asked: timedelta, granted: timedelta, expected: timedelta) -> None:
        """NotAfter is now plus the lifetime, and never after an issuer's end."""
        key, template = proven_key(), SLOT.templates[KeyType.EC_P256]
        made = draft(grant_of(max_lifetime=granted), key, template, asked, STAMP)
        assert made.not_after == NOW + expected

    def test_longer_than_granted(self) -> None:
        """A lifetime that the grant does not cover is an error of ours, not shortened a second time."""
        with pytest.raises(InvariantBroken) as broken:
            draft(grant_of(max_lifetime=HOUR), KEY, SLOT.templates[KeyType.EC_P256], DAY, STAMP)
        assert broken.value.reason == "lifetime"

    def test_backdated(self) -> None:
        """NotBefore lies exactly the configured time before now."""
        assert drafted().not_before == NOW - BACKDATE

    def test_whole_seconds(self) -> None:
        """A fraction of a second is cut off, so that the certificate says what the ledger says."""
        stamp = Stamp(serial=SERIAL, now=NOW + timedelta(microseconds=999_999), backdate=BACKDATE)
        wanted = want(proven_key(), SLOT.issuer, HOUR, stamp)
        assert (wanted.not_before, wanted.not_after) == (NOW - BACKDATE, NOW + HOUR)

    @pytest.mark.parametrize("late", [timedelta(0), DAY], ids=["at-the-end", "after"])
    def test_expired_signer(self, late: timedelta) -> None:
        """A signer that has expired drafts nothing."""
        stamp = Stamp(serial=SERIAL, now=SLOT.issuer.not_after + late, backdate=BACKDATE)
        with pytest.raises(Unavailable) as refused:
            want(proven_key(), SLOT.issuer, HOUR, stamp)
        assert refused.value.reason == "signer_expired"

    @given(st.integers(1, 10**9), st.integers(0, 29 * 86400))
    def test_bounds(self, seconds: int, later: int) -> None:
        """No draft ends after its lifetime or its issuer."""
        now = NOW + timedelta(seconds=later)
        lifetime = timedelta(seconds=seconds)
        stamp = Stamp(serial=SERIAL, now=now, backdate=BACKDATE)
        made = draft(grant_of(max_lifetime=lifetime), KEY, SLOT.templates[KeyType.EC_P256], lifetime, stamp)
        assert now < made.not_after <= min(now + lifetime, SLOT.issuer.not_after)


KEY = proven_key()


class TestGrant:
    """`draft`: only what was granted."""

    def test_key_type(self) -> None:
        """A key of a type that the grant does not name is refused."""
        grant = grant_of(key_types=frozenset({KeyType.EC_P256}))
        with pytest.raises(Denied) as refused:
            draft(grant, proven_key(KeyType.RSA), SLOT.templates[KeyType.RSA], HOUR, STAMP)
        assert refused.value.reason == "key_type"

    def test_no_key_types(self) -> None:
        """An empty list of key types grants none."""
        with pytest.raises(Denied):
            draft(grant_of(key_types=frozenset()), KEY, SLOT.templates[KeyType.EC_P256], HOUR, STAMP)


def never(_: bytes) -> bytes:
    """A key that must not be used."""
    pytest.fail("the key was used")


SLOTS = [good_slot(ec_key()), good_slot(ec_key(ec.SECP384R1())), good_slot(rsa_key())]


class TestSign:
    """`Draft.sign`: spent once, read back, compared."""

    @pytest.mark.parametrize("key_type", list(KeyType))
    @pytest.mark.parametrize("slot", SLOTS, ids=["p256", "p384", "rsa"])
    def test_issued(self, key_type: KeyType, slot: Slot) -> None:
        """The signed leaf is issued by the signer, to the identity and key that were granted and proven."""
        made = draft(grant_of(), proven_key(key_type), slot.templates[key_type], HOUR, STAMP)
        leaf = leaf_of(made.sign(slot.sign).chain)
        leaf.verify_directly_issued_by(slot.issuer.certificate)
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.UniformResourceIdentifier) == [str(WEB)]

    def test_chain(self) -> None:
        """The chain is the leaf and the signer, one certificate each, and the roots are apart."""
        issued = drafted().sign(SLOT.sign)
        assert issued.chain[1:] == SLOT.issuer.chain
        assert [pem.count("BEGIN CERTIFICATE") for pem in (*issued.chain, issued.roots)] == [1, 1, 1]

    def test_facts(self) -> None:
        """What is said about the certificate is what stands in it."""
        waiting = drafted()
        issued = waiting.sign(SLOT.sign)
        leaf = leaf_of(issued.chain)
        assert issued.serial == waiting.serial == f"{leaf.serial_number:x}"
        assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        assert waiting.tbs == leaf.tbs_certificate_bytes

    def test_spent_once(self) -> None:
        """A second signature of the same draft is refused and the key is not used."""
        waiting = drafted()
        waiting.sign(SLOT.sign)
        with pytest.raises(InvariantBroken) as refused:
            waiting.sign(never)
        assert refused.value.reason == "draft_spent"

    def test_spent_by_a_failed_signature(self) -> None:
        """A draft whose signature failed is spent too."""
        waiting = drafted()
        with pytest.raises(ZeroDivisionError):
            waiting.sign(lambda _: bytes(1 // 0))
        with pytest.raises(InvariantBroken, match="draft_spent"):
            waiting.sign(SLOT.sign)

    def test_changed_after_the_lint(self) -> None:
        """A draft whose bytes changed after the lint is not given out."""
        waiting, other = drafted(), drafted()
        waiting.tbs = other.tbs.replace(b"/sa/web", b"/sa/wed")
        with pytest.raises(InvariantBroken) as refused:
            waiting.sign(SLOT.sign)
        assert refused.value.reason == "signed_changed"

    def test_linted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The signed certificate is compared with the linted one, under another signature, not linted again."""
        seen: list[bytes] = []
        svid = lint.svid

        def remember(made: bytes, wanted: Wanted, identity: SpiffeId) -> x509.Certificate:
            seen.append(made)
            return svid(made, wanted, identity)

        monkeypatch.setattr(lint, "svid", remember)
        leaf = leaf_of(drafted().sign(SLOT.sign).chain)
        (linted,) = [x509.load_der_x509_certificate(made) for made in seen]
        assert linted.tbs_certificate_bytes == leaf.tbs_certificate_bytes
        assert linted.signature != leaf.signature

    def test_time_is_in_utc(self) -> None:
        """The times are aware and in UTC."""
        assert drafted().not_after == datetime(2026, 1, 1, 1, tzinfo=UTC)
