"""The chain above an answer: found by signatures, ending in a root that counts, and nothing beside it kept."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from cryptography import x509

from meshca.upstream.vault.signed import judge
from tests.fakes.pki import DAY, NARROW, NOW, Ca, ec_key, make_ca, rsa_key
from tests.fakes.vault_pki import sign
from tests.fakes.vault_wish import BODY, MIDDLE, OTHER, ROOT, WISH, problems

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("place", ["root", "middle"])
def test_outlives_an_issuer(place: str) -> None:
    """What ends after anything above it is refused, since OpenBao signs so with only a warning."""
    end = NOW + 10 * DAY
    root = make_ca("root", end=end) if place == "root" else ROOT
    middle = make_ca("middle", root, end=NOW + 20 * DAY if place == "root" else end)
    found = problems(sign(middle, BODY, NOW, end=NOW + 10 * DAY + MINUTE), middle, roots=(root,))
    assert any(f"after 'CN={place}' above it" in one for one in found)


def test_issuer_has_ended() -> None:
    """An issuer that has ended is refused, whatever it signed."""
    old = make_ca("old", ROOT, end=NOW - DAY, begin=NOW - 2 * DAY)
    assert any("CN=old" in one and "expired" in one for one in problems(sign(old, BODY, NOW), old))


@pytest.mark.parametrize("issuer", [ROOT, MIDDLE])
def test_chain_of_another_key(issuer: Ca) -> None:
    """An issuer of the same name with another key is no way up."""
    twin = make_ca(issuer.certificate.subject.rfc4514_string()[3:], None if issuer is ROOT else ROOT)
    found = problems(sign(twin, BODY, NOW), issuer)
    assert "no chain of signatures leads from it to a root that counts" in found


@pytest.mark.parametrize("above", [(OTHER,), (make_ca("below", OTHER), OTHER), ()])
def test_unpinned_root(above: tuple[Ca, ...]) -> None:
    """A chain to a root that does not count is refused, also when the answer brings that root."""
    signer = above[0] if above else OTHER
    assert "no chain of signatures leads from it to a root that counts" in problems(
        sign(signer, BODY, NOW), *above
    )


@pytest.mark.parametrize("nothing", [(), (MIDDLE,)])
def test_no_roots(nothing: tuple[Ca, ...]) -> None:
    """While no root counts, nothing does."""
    assert problems(sign(MIDDLE, BODY, NOW), *nothing, roots=())


@pytest.mark.parametrize("place", ["root", "middle", "own"])
def test_not_read_by_others(place: str) -> None:
    """What programs in Go refuse in any certificate of the chain breaks it; each is named."""
    bad = x509.NameConstraints(None, [x509.DNSName("a..b")])
    root = make_ca("root", extra=[bad] if place == "root" else [])
    middle = make_ca("middle", root, extra=[bad] if place == "middle" else [])
    given = sign(middle, BODY, NOW, extra=[(bad, False)] if place == "own" else [])
    named = {"root": "CN=root", "middle": "CN=middle", "own": "CN=intermediate 1,O=meshca"}[place]
    told = "its constraint on names is of a kind, or in a form, that other programs do not read"
    assert problems(given, middle, roots=(root,)) == [f"'{named}': {told}"]


def test_path_length_of_the_issuer() -> None:
    """An issuer that may have no CA below it is refused."""
    narrow = make_ca("narrow", ROOT, constraints=x509.BasicConstraints(True, 0))
    assert any("its path length 0" in one for one in problems(sign(narrow, BODY, NOW), narrow))


def test_names_that_the_issuer_excludes() -> None:
    """Constraints above it that keep our trust domain out are found by the trial leaf."""
    narrow = make_ca("narrow", ROOT, extra=[NARROW])
    assert any("trial certificate" in one for one in problems(sign(narrow, BODY, NOW), narrow))


def test_weak_issuer() -> None:
    """An issuer with a key that verifiers refuse is found by the trial leaf."""
    weak = make_ca("weak", ROOT, key=rsa_key(1024))
    assert any("trial certificate" in one for one in problems(sign(weak, BODY, NOW), weak))


@pytest.mark.parametrize(
    "above",
    [
        *itertools.permutations([MIDDLE, ROOT, OTHER]),
        (MIDDLE,),
        (MIDDLE, MIDDLE, ROOT, ROOT),
        (make_ca("stray"), MIDDLE, make_ca("leaf", OTHER, constraints=None)),
    ],
)
def test_any_chain(above: tuple[Ca, ...]) -> None:
    """Order, duplicates, strangers and a missing root make no difference: only what is on the way is kept."""
    given = sign(MIDDLE, BODY, NOW)
    chain = [given, *(ca.certificate for ca in above), given]
    material, found = judge(WISH, given, chain, [OTHER.certificate, ROOT.certificate], NOW)
    assert found == []
    assert material is not None
    assert material.others == (MIDDLE.certificate,)
    assert material.roots == (OTHER.certificate, ROOT.certificate)


def test_certificates_that_sign_each_other() -> None:
    """A crowd of one name and one key, each the issuer of each, is judged in the time of a chain."""
    key = ec_key()
    crowd = [make_ca("crowd", key=key) for _ in range(60)]
    assert problems(sign(crowd[0], BODY, NOW), *crowd)
