"""Leaves that somebody else signed: given on only when they are exactly what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshca import csr
from meshca.authority.chain import signed_by
from meshca.authority.material import to_pem
from meshca.authority.outside import Commission, issuer_above, name_and_key
from meshca.authority.slot import Slot
from meshca.errors import Unavailable
from meshca.identity.key_type import KeyType
from meshca.svid.draft import Stamp
from tests.fakes.odd_keys import compressed, hybrid, rewritten
from tests.fakes.pki import (
    DAY,
    NOW,
    SIGNS_CERTIFICATES,
    TRUST_DOMAIN,
    WEB,
    Ca,
    ec_key,
    grant_of,
    make_ca,
    material_of,
)
from tests.fakes.vault_pki import sign_leaf

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
BACKDATE = timedelta(minutes=2)
ROOT, OTHER = make_ca("root"), make_ca("other root")
UPPER = make_ca("upper", ROOT, end=NOW + 40 * DAY)
KEY = csr.ours(ec_key().public_key())
CA = x509.BasicConstraints(ca=True, path_length=None)
NAMED = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")])
ENCIPHERS = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)])


def slot(*above: Any) -> Slot:
    """A signer of ours below these, the root last."""
    below = make_ca("signer", above[0], end=NOW + 30 * DAY)
    return Slot.prove(material_of(below, *above[:-1], roots=[above[-1]]), TRUST_DOMAIN, NOW)


BELOW_ROOT, BELOW_UPPER = slot(ROOT), slot(UPPER, ROOT)


def commission(of: Slot = BELOW_ROOT, key: csr.ProvenKey = KEY) -> Commission:
    """One leaf of an hour for the web shop."""
    stamp = Stamp(serial=1 << 150 | 1 << 130, now=NOW, backdate=BACKDATE)
    return Commission(slot=of, draft=of.draft(grant_of(), key, HOUR, stamp), key=key, identity=WEB)


def signed(asked: Commission, issuer: Any = ROOT, **faults: Any) -> str:
    """What a role signs for it, with these faults."""
    wish = asked.wish("")
    body = {"uri_sans": wish.identity, "not_after": wish.not_after.isoformat()}
    return to_pem(sign_leaf(issuer, body, NOW, **{"public_key": asked.key.public_key, **faults}))


@pytest.mark.parametrize("key_type", KeyType)
def test_good(key_type: KeyType) -> None:
    """The chain has no root in it, the serial is the other's, and who knows our signer knows the leaf by it."""
    asked = commission(key=csr.fresh_key(key_type)[1])
    pem = signed(asked)
    issued = asked.judge(pem, NOW)
    leaf = x509.load_pem_x509_certificate(pem.encode())
    assert issued.chain == (pem,)
    assert issued.serial == f"{leaf.serial_number:x}" != asked.draft.serial
    assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, asked.draft.not_after)
    assert issued.signer == BELOW_ROOT.issuer.signer_id


@pytest.mark.parametrize("form", [compressed, hybrid], ids=["compressed", "hybrid"])
def test_odd_key(form: Callable[[ec.EllipticCurvePublicKey], bytes]) -> None:
    """A leaf whose key Envoy could not read is nobody's, though it is the key that was proven."""
    key = ec_key()
    asked = commission(key=csr.ours(key.public_key()))
    leaf = x509.load_pem_x509_certificate(signed(asked).encode())
    with pytest.raises(Unavailable, match="its public key is written") as caught:
        asked.judge(to_pem(rewritten(leaf, form(key.public_key()), ROOT.key)), NOW)
    assert caught.value.reason == "leaf_answer"


def test_below_an_intermediate() -> None:
    """What is between the leaf and the root comes with it; our own signer does not."""
    asked = commission(BELOW_UPPER)
    pem = signed(asked, UPPER)
    assert asked.judge(pem, NOW).chain == (pem, UPPER.pem)


def test_issuer_that_was_issued_anew() -> None:
    """A leaf by another certificate of the issuer's name and key is below the one above our signer just so."""
    asked, again = commission(BELOW_UPPER), make_ca("upper", ROOT, key=UPPER.key)
    assert name_and_key(again.certificate) == asked.wish("").issuer
    assert asked.judge(signed(asked, again), NOW).chain[1:] == (UPPER.pem,)


@pytest.mark.parametrize(
    "other", [make_ca("upper", ROOT), make_ca("other", ROOT, key=UPPER.key)], ids=["key", "name"]
)
def test_another_issuer(other: Ca) -> None:
    """One that shares only the name, or only the key, is another."""
    assert name_and_key(other.certificate) != name_and_key(UPPER.certificate)


def test_leaves_are_not_remembered() -> None:
    """They are met once, and would drive out what is known of CA certificates."""
    asked = commission()
    asked.judge(signed(asked), NOW)
    known = signed_by.cache_info().currsize
    asked.judge(signed(asked), NOW)
    assert signed_by.cache_info().currsize == known


def test_wish() -> None:
    """The identity, the end of the draft, and the issuer above our signer."""
    asked = commission(BELOW_UPPER)
    wish = asked.wish("CSR")
    assert (wish.csr, wish.identity, wish.not_after) == ("CSR", str(WEB), asked.draft.not_after)
    assert wish.issuer == name_and_key(UPPER.certificate)


def test_shorter() -> None:
    """A role that allows less than was asked for gives less, down to half, and that is what is recorded."""
    asked = commission()
    end = asked.draft.not_after - timedelta(minutes=30)
    assert asked.judge(signed(asked, end=end), NOW).not_after == end


def test_cut_short_by_our_own_signer() -> None:
    """Near its end little is asked for; a leaf of all that was left when it came back is good."""
    asked = commission()
    late = asked.draft.not_after - SECOND
    assert asked.judge(signed(asked, begin=NOW), late).not_after == asked.draft.not_after


@pytest.mark.parametrize("end", [NOW - SECOND, NOW, NOW + SECOND, NOW + HOUR / 2 - SECOND])
def test_far_shorter(end: datetime) -> None:
    """A leaf that has ended, or lasts for less than half of what was asked for, is given to nobody."""
    asked = commission()
    with pytest.raises(Unavailable, match="long before"):
        asked.judge(signed(asked, end=end), NOW)


def test_an_answer_that_came_too_late() -> None:
    """When all that was asked for is over nothing is given, and the answer is not called wrong."""
    asked = commission()
    with pytest.raises(Unavailable, match="ask for more seconds") as refused:
        asked.judge(signed(asked), asked.draft.not_after)
    assert refused.value.reason == "leaf_late"


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"public_key": ec_key().public_key()}, "the proven key"),
    ({"signing": OTHER.key}, "not signed by"),
    ({"uris": ["spiffe://cluster.local/ns/shop/sa/other"]}, "exactly the names"),
    ({"uris": [str(WEB), "spiffe://cluster.local/ns/shop/sa/other"]}, "exactly the names"),
    ({"dns": ["web.example"]}, "exactly the names"),
    ({"critical": False}, "exactly the names granted, critical"),
    ({"constraints": CA}, "not a CA"),
    ({"usage": SIGNS_CERTIFICATES}, "digital signature"),
    ({"usage": ENCIPHERS}, "digital signature"),
    ({"purposes": [ExtendedKeyUsageOID.SERVER_AUTH]}, "purposes"),
    ({"subject": NAMED}, "an empty subject"),
    ({"extra": [(POLICY, False)]}, "no other extension"),
    ({"end": NOW + HOUR + SECOND}, "later than"),
    ({"begin": NOW + SECOND}, "compare the clocks"),
    ({"begin": NOW - BACKDATE - SECOND}, "compare the clocks"),
]


@pytest.mark.parametrize(
    ("faults", "problem"), REFUSED, ids=lambda one: "-".join(one) if isinstance(one, dict) else ""
)
def test_refused(faults: Mapping[str, Any], problem: str) -> None:
    """Anything that is not as it was asked for is given to nobody, and what it was is said."""
    asked = commission()
    with pytest.raises(Unavailable, match=problem) as refused:
        asked.judge(signed(asked, **faults), NOW)
    assert refused.value.reason == "leaf_answer"


def test_another_root() -> None:
    """A leaf below another root would be trusted by nobody who has only the active one."""
    asked = commission()
    with pytest.raises(Unavailable, match="not signed by"):
        asked.judge(signed(asked, OTHER), NOW)


@pytest.mark.parametrize("pem", ["", "garbage", "\udfff", ROOT.pem * 2], ids=["none", "garbage", "no text", "two"])
def test_no_certificate(pem: str) -> None:
    """What is not one certificate is refused before anything of it is believed."""
    with pytest.raises(Unavailable, match="not one certificate"):
        commission().judge(pem, NOW)


def test_our_signer_is_a_root() -> None:
    """Where nobody is above our signer nobody can sign in its place."""
    alone = Slot.prove(material_of(ROOT, roots=[ROOT]), TRUST_DOMAIN, NOW)
    with pytest.raises(Unavailable) as refused:
        commission(alone).wish("")
    assert refused.value.reason == "leaf_issuer"


@pytest.mark.parametrize("unfit", [{"key": ec_key(ec.SECP521R1())}, {"key_id": False}], ids=["P-521", "no key id"])
def test_unfit_issuer(unfit: Mapping[str, Any]) -> None:
    """Below a root that cannot sign leaves as we lint them no leaf is asked for."""
    with pytest.raises(Unavailable) as refused:
        issuer_above(slot(make_ca("unfit", **unfit)))
    assert refused.value.reason == "leaf_issuer"
