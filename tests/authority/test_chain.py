"""The way up to a root: found by signatures, whatever the order of the files."""

from __future__ import annotations

import itertools

import pytest
from cryptography import x509

from meshca.authority.chain import find_path, signed_by
from tests.fakes.pki import Ca, make_ca

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


def test_certificates_that_sign_each_other() -> None:
    """Each is tried once: a crowd of one name and one key has more ways than could be walked."""
    crowd = [make_ca("crowd", key=UPPER.key) for _ in range(40)]
    assert find_path(crowd[0].certificate, certificates(*crowd), certificates(ROOT)) == ()
