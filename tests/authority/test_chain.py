"""The way up to a root: found by signatures, whatever the order of the files."""

from __future__ import annotations

import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from meshca.authority.chain import find_path, signed_by
from meshca.svid.signature import SigningKey
from tests.fakes.pki import DAY, NOW, Ca, make_ca, rsa_key

ROOT = make_ca("root")
UPPER = make_ca("upper", ROOT)
LOWER = make_ca("lower", UPPER)
SIGNER = make_ca("signer", LOWER)
OTHER_ROOT = make_ca("other root")


def certificates(*cas: Ca) -> tuple[x509.Certificate, ...]:
    """The certificates of some CAs."""
    return tuple(ca.certificate for ca in cas)


@pytest.mark.parametrize("others", list(itertools.permutations([UPPER, LOWER, ROOT])))
def test_any_order(others: tuple[Ca, ...]) -> None:
    """The path is the same for every order of the certificates in between."""
    found = find_path(SIGNER.certificate, certificates(*others), certificates(OTHER_ROOT, ROOT))
    assert found == certificates(SIGNER, LOWER, UPPER, ROOT)


def test_a_root_signs_itself() -> None:
    """A root that signs leaves itself is a path of one."""
    assert find_path(ROOT.certificate, (), certificates(ROOT)) == certificates(ROOT)


@pytest.mark.parametrize(
    ("others", "roots"),
    [
        pytest.param((LOWER,), (ROOT,), id="a-link-is-missing"),
        pytest.param((LOWER, UPPER), (OTHER_ROOT,), id="another-root"),
        pytest.param((LOWER, UPPER, ROOT), (), id="no-root"),
        pytest.param((LOWER, UPPER), (make_ca("root"),), id="a-root-of-the-same-name"),
    ],
)
def test_no_path(others: tuple[Ca, ...], roots: tuple[Ca, ...]) -> None:
    """Without an unbroken row of signatures to a root there is no path."""
    assert find_path(SIGNER.certificate, certificates(*others), certificates(*roots)) == ()


def test_cross_signed_root() -> None:
    """A root that another CA has signed too makes no detour."""
    twin = make_ca("root", OTHER_ROOT, key=ROOT.key)
    found = find_path(UPPER.certificate, certificates(twin), certificates(OTHER_ROOT, ROOT))
    assert found == certificates(UPPER, ROOT)


def test_dead_end() -> None:
    """A twin that leads nowhere is left for the one that leads to a root."""
    orphan = make_ca("upper", make_ca("gone"), key=UPPER.key)
    found = find_path(LOWER.certificate, certificates(orphan, UPPER), certificates(ROOT))
    assert found == certificates(LOWER, UPPER, ROOT)


def test_circle() -> None:
    """CAs that have signed each other end the search, not the process."""
    one, two = make_ca("one"), make_ca("two")
    one_by_two, two_by_one = make_ca("one", two, key=one.key), make_ca("two", one, key=two.key)
    assert find_path(one_by_two.certificate, certificates(two_by_one), certificates(ROOT)) == ()


@pytest.mark.parametrize(
    ("child", "parent", "expected"),
    [
        pytest.param(UPPER, ROOT, True, id="signed"),
        pytest.param(LOWER, ROOT, False, id="by-another-name"),
        pytest.param(UPPER, make_ca("root"), False, id="by-another-key-of-that-name"),
    ],
)
def test_signed_by(child: Ca, parent: Ca, *, expected: bool) -> None:
    """Name and key must both be those that signed."""
    assert signed_by(child.certificate, parent.certificate) == expected


def with_exponent(exponent: int) -> rsa.RSAPrivateKey:
    """The RSA key of 2048 bits, with another exponent."""
    old = rsa_key(2048).private_numbers()
    d = pow(exponent, -1, (old.p - 1) * (old.q - 1))
    public = rsa.RSAPublicNumbers(exponent, old.public_numbers.n)
    return rsa.RSAPrivateNumbers(
        old.p, old.q, d, rsa.rsa_crt_dmp1(d, old.p), rsa.rsa_crt_dmq1(d, old.q), old.iqmp, public
    ).private_key()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (rsa_key(1024), True),
        (rsa_key(2048, 3), True),
        (with_exponent(2**64 - 59), True),
        (with_exponent(2**64 + 13), False),
        (rsa_key(4096), True),
        (rsa_key(4104), False),
    ],
    ids=["small", "exponent 3", "longest exponent", "exponent too long", "largest", "too large"],
)
def test_slow_keys(key: SigningKey, *, expected: bool) -> None:
    """A signature by a key that is larger than any that is allowed is not verified, as it could take long."""
    one = make_ca("rsa", key=key).certificate
    assert signed_by(one, one) == expected


def test_kind_that_nobody_uses() -> None:
    """Nor is one by DSA, whose keys may be of any size."""
    key, name = dsa.generate_private_key(1024), ROOT.certificate.subject  # noqa: S505 - trusted by nobody
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY)
    one = builder.sign(key, hashes.SHA256())
    one.verify_directly_issued_by(one)
    assert not signed_by(one, one)


def test_each_pair_once() -> None:
    """A crowd that is walked from each of its own costs one verification for each pair."""
    signed_by.cache_clear()
    crowd = certificates(*(make_ca("crowd", key=UPPER.key) for _ in range(10)))
    for one in crowd:
        assert find_path(one, crowd, certificates(ROOT)) == ()
    assert signed_by.cache_info().misses <= 10 * 11


def test_named_issuer_first() -> None:
    """Of many with the issuer's name that one is tried first which the key identifier names."""
    signed_by.cache_clear()
    crowd = certificates(*(make_ca("upper") for _ in range(10)), UPPER)
    assert find_path(LOWER.certificate, crowd, certificates(ROOT)) == certificates(LOWER, UPPER, ROOT)
    assert signed_by.cache_info().misses <= 3


def test_certificates_that_sign_each_other() -> None:
    """Each is tried once: a crowd of one name and one key has more ways than could be walked."""
    crowd = [make_ca("crowd", key=UPPER.key) for _ in range(40)]
    assert find_path(crowd[0].certificate, certificates(*crowd), certificates(ROOT)) == ()
