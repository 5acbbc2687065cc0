"""Faults of signing material: one row for each, and all of them at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshca.authority.faults import find_faults
from meshca.authority.material import SigningMaterial
from tests.fakes.odd_keys import hybrid, rewritten
from tests.fakes.pki import (
    DAY,
    NOW,
    SIGNS_DATA,
    TRUST_DOMAIN,
    Ca,
    ec_key,
    good_material,
    make_ca,
    material_of,
    rsa_key,
)

ROOT = make_ca("root")
UPPER = make_ca("upper", ROOT)
SIGNER = make_ca("signer", UPPER)
OLD_ROOT = make_ca("old root", end=NOW - timedelta(hours=1))
NOT_CA = x509.BasicConstraints(ca=False, path_length=None)
NO_CA_BELOW = x509.BasicConstraints(ca=True, path_length=0)
SECOND = timedelta(seconds=1)


def faults(material: SigningMaterial) -> list[str]:
    """The faults of material that shall sign for our trust domain now."""
    certificates = [material.certificate, *material.others]
    return find_faults(certificates, material.roots, material.key, TRUST_DOMAIN, NOW)


def below_root(**changes: Any) -> SigningMaterial:
    """A signing certificate right below the root, with changes."""
    return material_of(make_ca("signer", ROOT, **changes), roots=[ROOT])


@pytest.mark.parametrize(
    "material",
    [
        pytest.param(good_material(), id="below-a-root"),
        pytest.param(material_of(SIGNER, UPPER, roots=[ROOT]), id="two-below-a-root"),
        pytest.param(material_of(SIGNER, SIGNER, UPPER, ROOT, roots=[ROOT]), id="root-and-signer-in-the-chain"),
        pytest.param(material_of(ROOT, roots=[ROOT]), id="the-root-itself"),
        pytest.param(material_of(ROOT, ROOT, roots=[ROOT]), id="the-root-itself-in-the-chain"),
        pytest.param(
            material_of(SIGNER, UPPER, roots=[OLD_ROOT, make_ca("other"), ROOT]), id="many-roots-one-expired"
        ),
        pytest.param(below_root(key=ec_key(ec.SECP384R1())), id="p384"),
        pytest.param(below_root(key=rsa_key()), id="rsa"),
        pytest.param(below_root(uri="spiffe://cluster.local"), id="spiffe-id"),
        pytest.param(below_root(uri="https://ca.example"), id="another-uri"),
        pytest.param(below_root(constraints=NO_CA_BELOW), id="path-length-0"),
        pytest.param(below_root(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), id="any-purpose"),
        pytest.param(
            below_root(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            id="both-purposes",
        ),
        pytest.param(below_root(begin=NOW, end=NOW + SECOND), id="valid-for-this-second"),
        pytest.param(
            material_of(
                make_ca("signer", make_ca("plain", key=ROOT.key, usage=None)),
                roots=[make_ca("plain", key=ROOT.key, usage=None)],
            ),
            id="root-without-key-usage",
        ),
    ],
)
def test_good(material: SigningMaterial) -> None:
    """Sound material has no fault."""
    assert faults(material) == []


EXPIRED_ROOT = make_ca("root", end=NOW)
SHORT_ROOT = make_ca("root", constraints=NO_CA_BELOW)
SHALLOW_ROOT = make_ca("root", constraints=x509.BasicConstraints(ca=True, path_length=1))
LEAF_ROOT = make_ca("root", constraints=None)
ROOT_BELOW = make_ca("sub root", ROOT)
ODD_KEY = ec_key()
ODD = Ca(rewritten(make_ca("odd", ROOT, key=ODD_KEY).certificate, hybrid(ODD_KEY.public_key()), ROOT.key), ODD_KEY)


@pytest.mark.parametrize(
    ("material", "fault"),
    [
        pytest.param(
            SigningMaterial(
                certificate=SIGNER.certificate,
                others=(UPPER.certificate,),
                roots=(ROOT.certificate,),
                key=ec_key(),
            ),
            "the private key is not its own",
            id="key-of-another",
        ),
        pytest.param(below_root(key=ec_key(ec.SECP521R1())), "P-521", id="p521"),
        pytest.param(material_of(ODD, roots=[ROOT]), "'CN=odd': its public key is written", id="odd-key"),
        pytest.param(
            material_of(make_ca("signer", ODD), ODD, roots=[ROOT]),
            "'CN=odd': its public key is written",
            id="odd-key-above",
        ),
        pytest.param(below_root(key=rsa_key(1024)), "RSA-1024", id="rsa-1024"),
        pytest.param(material_of(SIGNER, roots=[ROOT]), "no chain of signatures", id="missing-intermediate"),
        pytest.param(
            material_of(SIGNER, UPPER, roots=[make_ca("root")]), "no chain of signatures", id="another-root"
        ),
        pytest.param(
            material_of(SIGNER, UPPER, make_ca("stray"), roots=[ROOT]), "'CN=stray': not on the path", id="stray"
        ),
        pytest.param(below_root(end=NOW), "expired at 2026-01-01", id="signer-expired"),
        pytest.param(below_root(begin=NOW + SECOND), "not valid before", id="signer-not-yet-valid"),
        pytest.param(
            material_of(make_ca("signer", EXPIRED_ROOT), roots=[EXPIRED_ROOT]),
            "'CN=root': expired",
            id="root-expired",
        ),
        pytest.param(below_root(constraints=NOT_CA), "not a CA", id="signer-is-a-leaf"),
        pytest.param(below_root(constraints=None), "not a CA", id="signer-without-constraints"),
        pytest.param(
            material_of(make_ca("signer", LEAF_ROOT), roots=[LEAF_ROOT]),
            "a root but not a CA",
            id="root-is-a-leaf",
        ),
        pytest.param(
            material_of(make_ca("signer", SHORT_ROOT), roots=[SHORT_ROOT]),
            "path length 0",
            id="path-length-of-root",
        ),
        pytest.param(below_root(usage=None), "no key usage", id="signer-without-key-usage"),
        pytest.param(below_root(usage=SIGNS_DATA), "keyCertSign", id="signer-may-not-sign"),
        pytest.param(
            below_root(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), "extended key usage", id="server-purpose-only"
        ),
        pytest.param(below_root(key_id=False), "no subject key identifier", id="no-key-identifier"),
        pytest.param(
            below_root(uri="spiffe://other.example"), "spiffe://cluster.local", id="another-trust-domain"
        ),
        pytest.param(
            below_root(uri="spiffe://cluster.local/a"), "spiffe://cluster.local", id="spiffe-id-with-path"
        ),
        pytest.param(
            material_of(make_ca("signer", ROOT_BELOW), roots=[ROOT_BELOW]),
            "not self-signed",
            id="root-not-self-signed",
        ),
    ],
)
def test_fault(material: SigningMaterial, fault: str) -> None:
    """Each fault is told in words that name the certificate and what to do."""
    assert any(fault in line for line in faults(material)), faults(material)


def test_all_at_once() -> None:
    """Every fault of one certificate is listed, not only the first."""
    found = faults(below_root(constraints=None, usage=None, key_id=False, end=NOW, uri="spiffe://x"))
    assert len(found) == 5


def test_deep_path() -> None:
    """A path length counts the CA certificates between it and the leaf."""
    upper = make_ca("upper", SHALLOW_ROOT)
    lower = make_ca("lower", upper)
    found = faults(material_of(make_ca("signer", lower), lower, upper, roots=[SHALLOW_ROOT]))
    assert found == ["certificate 'CN=root': its path length 1 allows fewer than the 3 CA certificates below it"]


def test_room_below_the_first() -> None:
    """A root above an intermediate to come must have room for it."""
    found = find_faults(
        [SHORT_ROOT.certificate], [SHORT_ROOT.certificate], SHORT_ROOT.key, TRUST_DOMAIN, NOW, below=1
    )
    assert found == ["certificate 'CN=root': its path length 0 allows fewer than the 1 CA certificates below it"]


def test_root_without_key_identifier() -> None:
    """An old root that has no key identifier may stand above others, but signs no leaves itself."""
    old = make_ca("root", key_id=False)
    signer = make_ca("signer", old)
    assert faults(material_of(signer, roots=[old])) == []
    assert "no subject key identifier" in faults(material_of(old, roots=[old]))[0]


@pytest.mark.parametrize("kept", ["certificates", "roots", "nothing"])
def test_unreadable_parts(kept: str) -> None:
    """Faults of the readable parts are found even when the others are missing."""
    bad: Ca = make_ca("bad", constraints=None, end=NOW)
    certificates = [bad.certificate] if kept == "certificates" else []
    roots = [bad.certificate] if kept == "roots" else []
    found = find_faults(certificates, roots, None, TRUST_DOMAIN, NOW)
    assert bool(found) == (kept != "nothing")


def test_long_life_is_no_fault() -> None:
    """How long a signer lives is the operator's business."""
    assert faults(below_root(end=NOW + 36500 * DAY)) == []
