"""A look, judged: which roots count, and below which of them the issuer signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.material import certificate_id, to_pem
from meshca.config.vault import VaultRoots
from meshca.errors import ConfigError, MeshcaError
from meshca.upstream.vault.mount import Issuer, Look
from meshca.upstream.vault.sight import Sight, judged
from tests.fakes.pki import DAY, NOW, Ca, make_ca, rsa_key

ONE, TWO = make_ca("one"), make_ca("two")
BELOW = make_ca("below", ONE)
ANY = VaultRoots(accept="any")


def issuer(*cas: Ca) -> Issuer:
    """An issuer and what the server says is above it."""
    first, *others = (ca.certificate for ca in cas)
    return Issuer(id=certificate_id(first)[:8], certificate=first, others=tuple(others))


def look_of(*issuers: Issuer) -> Look:
    """A mount; the first signs."""
    return Look(current=issuers[0], issuers=issuers)


def sight(config: VaultRoots, *issuers: Issuer, known: tuple[Ca, ...] = ()) -> Sight:
    """The judgement of that mount."""
    return judged(config, look_of(*issuers), known=[ca.certificate for ca in known], now=NOW)


def told(found: Sight) -> tuple[str, str]:
    """The reason and the words of what is wrong."""
    assert isinstance(found.problem, MeshcaError)
    return found.problem.reason, found.problem.detail


def test_good() -> None:
    """The root above the issuer counts and is the one that signs."""
    found = sight(ANY, issuer(BELOW, ONE), issuer(TWO))
    assert (found.roots, found.root, found.problem) == ((ONE.certificate, TWO.certificate), ONE.certificate, None)


def test_issuer_below() -> None:
    """Only the current issuer is below a root: no other is ever asked."""
    found = sight(ANY, issuer(BELOW, ONE), issuer(ONE), issuer(TWO))
    assert found.issuer_below(certificate_id(ONE.certificate)) == issuer(BELOW, ONE)
    assert found.issuer_below(certificate_id(TWO.certificate)) is None


def test_root_that_the_mount_lacks(tmp_path: Path) -> None:
    """A root that is pinned by a file completes a chain that ends before it."""
    path = tmp_path / "roots.pem"
    path.write_text(to_pem(ONE.certificate))
    found = sight(VaultRoots(file=path), issuer(BELOW))
    assert (found.root, found.problem) == (ONE.certificate, None)


def test_root_that_nobody_has() -> None:
    """A chain that ends before a root that is not pinned is told, with what mends it."""
    found = sight(ANY, issuer(BELOW))
    assert found.root is None
    reason, words = told(found)
    assert reason == "vault_answer"
    assert "no chain of signatures leads from the issuer to a root; import its root, or pin it by a file" in words


def test_unpinned() -> None:
    """An issuer below another root than the pinned one signs nothing; the fingerprint is told."""
    found = sight(VaultRoots(sha256=(certificate_id(TWO.certificate),)), issuer(BELOW, ONE), issuer(TWO))
    assert (found.roots, found.root) == ((TWO.certificate,), None)
    reason, words = told(found)
    assert reason == "vault_root_unpinned"
    assert certificate_id(ONE.certificate) in words


@pytest.mark.parametrize("signs", [ONE, TWO], ids=["cross-signed", "itself"])
@pytest.mark.parametrize("by", ["sha256", "file", "known"])
def test_cross_signed(tmp_path: Path, by: str, signs: Ca) -> None:
    """Where two roots are above the issuer, the one that counts is taken, wherever it stands in the mount."""
    cross = make_ca("two", ONE, key=TWO.key)
    path = tmp_path / "roots.pem"
    path.write_text(to_pem(signs.certificate))
    config = {
        "sha256": VaultRoots(sha256=(certificate_id(signs.certificate),)),
        "file": VaultRoots(file=path),
        "known": VaultRoots(accept="first_use"),
    }[by]
    for above in ((TWO, cross, ONE), (ONE, cross, TWO)):
        found = sight(config, issuer(make_ca("below two", TWO), *above), known=(signs,))
        assert (found.root, found.problem) == (signs.certificate, None)
        assert found.issuer_below(certificate_id(signs.certificate)) == found.look.current


def test_cross_signed_by_a_root_that_is_unsound() -> None:
    """Of two roots that are pinned the sound one is taken; what is wrong with the other is told."""
    old = make_ca("old", begin=NOW - 2 * DAY, end=NOW - DAY)
    cross = make_ca("two", old, key=TWO.key)
    found = sight(ANY, issuer(make_ca("below two", TWO), cross, old, TWO))
    assert found.root == TWO.certificate
    assert "expired" in told(found)[1]


def test_first_use_goes_on() -> None:
    """What was accepted first counts on, and another root above the issuer does not."""
    config = VaultRoots(accept="first_use")
    assert sight(config, issuer(ONE)).roots == (ONE.certificate,)
    changed = sight(config, issuer(TWO), known=(ONE,))
    assert (changed.roots, changed.root) == ((ONE.certificate,), None)
    assert told(changed)[0] == "vault_root_unpinned"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (make_ca("old", end=NOW - DAY, begin=NOW - 2 * DAY), "expired; take it out of the mount"),
        (make_ca("weak", key=rsa_key(1024)), "too weak"),
        (make_ca("leaf", constraints=None), "no CA; take it out of the mount"),
        (make_ca("one"), "its subject is in use by another root with another key"),
    ],
)
def test_unsound(bad: Ca, words: str) -> None:
    """A root that is unsound does not count, and does not keep the others from counting."""
    found = sight(ANY, issuer(TWO), issuer(BELOW, ONE), issuer(bad))
    assert bad.certificate not in found.roots
    assert found.root == TWO.certificate
    assert words in told(found)[1]


def test_same_subject() -> None:
    """Of two roots with one subject that one counts which counted before, wherever it stands in the mount."""
    twin = make_ca("one")
    for mount in ((issuer(ONE), issuer(twin)), (issuer(twin), issuer(ONE))):
        assert sight(ANY, *mount, known=(ONE,)).roots == (ONE.certificate,)


def test_unsound_above_the_issuer() -> None:
    """Below a root that is unsound nothing is signed."""
    old = make_ca("old", begin=NOW - 2 * DAY, end=NOW - DAY)
    assert sight(ANY, issuer(make_ca("signer", old), old)).root is None


def test_bad_file(tmp_path: Path) -> None:
    """A file of roots that cannot be used is the operator's to mend."""
    with pytest.raises(ConfigError):
        sight(VaultRoots(file=tmp_path / "gone.pem"), issuer(ONE))


def test_digest() -> None:
    """Equal for an equal mount and equal roots; another for another root that counts."""
    mount = issuer(BELOW, ONE), issuer(TWO)
    fewer = VaultRoots(sha256=(certificate_id(ONE.certificate),))
    assert sight(ANY, *mount).digest == sight(ANY, *mount).digest
    assert sight(ANY, *mount).digest != sight(fewer, *mount).digest
