"""Which roots count: what the operator pinned or chose, and nothing that the mount decides alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.authority.material import certificate_id
from meshca.config.vault import VaultRoots
from meshca.errors import ConfigError
from meshca.upstream.vault.trust import accepted, pinned_by_file
from tests.fakes.pki import Ca, make_ca

ONE, TWO, THREE = (make_ca(name) for name in ("one", "two", "three"))
OFFERED = (ONE.certificate, TWO.certificate)


def by_file(path: Path, text: str) -> VaultRoots:
    """Roots that are pinned by a file with this text."""
    path.write_text(text)
    return VaultRoots(file=path)


def test_file(tmp_path: Path) -> None:
    """The roots of a file count, each once, also those that the mount does not have."""
    config = by_file(tmp_path / "roots.pem", TWO.pem + THREE.pem + TWO.pem)
    pinned = pinned_by_file(config)
    assert pinned == (TWO.certificate, THREE.certificate)
    assert accepted(config, OFFERED, pinned=pinned, current=ONE.certificate, known=()) == pinned


def test_file_is_read_again(tmp_path: Path) -> None:
    """A further root is pinned without a restart."""
    config = by_file(tmp_path / "roots.pem", ONE.pem)
    assert pinned_by_file(config) == (ONE.certificate,)
    (tmp_path / "roots.pem").write_text(ONE.pem + TWO.pem)
    assert pinned_by_file(config) == (ONE.certificate, TWO.certificate)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected one or more certificates in PEM"),
        (ONE.key_pem, "expected one or more certificates in PEM"),
        (ONE.pem + make_ca("below", ONE).pem, "not self-signed, so no root: CN=below; take it out"),
    ],
)
def test_strange_file(tmp_path: Path, text: str, words: str) -> None:
    """A file that holds something else than roots is refused by its name."""
    with pytest.raises(ConfigError, match=words) as caught:
        pinned_by_file(by_file(tmp_path / "roots.pem", text))
    assert caught.value.source.startswith(f"upstream.roots.file: {tmp_path}")


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is told."""
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        pinned_by_file(VaultRoots(file=tmp_path / "gone.pem"))


def test_fingerprints() -> None:
    """Of the mount's roots those count whose fingerprints are pinned."""
    config = VaultRoots(sha256=(certificate_id(TWO.certificate), certificate_id(THREE.certificate)))
    assert pinned_by_file(config) == ()
    assert accepted(config, OFFERED, pinned=(), current=ONE.certificate, known=OFFERED) == (TWO.certificate,)


def test_any() -> None:
    """`any` takes every root of the mount."""
    config = VaultRoots(accept="any")
    assert accepted(config, OFFERED, pinned=(), current=None, known=()) == OFFERED


def test_first_use() -> None:
    """`first_use` takes the root above the issuer when nothing is known."""
    config = VaultRoots(accept="first_use")
    assert accepted(config, OFFERED, pinned=(), current=ONE.certificate, known=()) == (ONE.certificate,)


def test_second_use() -> None:
    """`first_use` takes no other once one is known, whatever the mount has."""
    config = VaultRoots(accept="first_use")
    known = (ONE.certificate,)
    assert accepted(config, (TWO.certificate,), pinned=(), current=TWO.certificate, known=known) == known


@pytest.mark.parametrize(
    ("known", "current", "counts"),
    [
        ((), ONE, (ONE,)),
        ((), TWO, ()),
        ((TWO,), ONE, (ONE,)),
        ((TWO,), TWO, ()),
        ((ONE,), TWO, (ONE,)),
    ],
    ids=["the mesh's", "a stranger", "a stranger before it", "the same stranger", "a stranger after it"],
)
def test_first_use_in_a_mesh(known: tuple[Ca, ...], current: Ca, counts: tuple[Ca, ...]) -> None:
    """Where the mesh trusts a root only that counts, whatever was met or accepted here."""
    found = accepted(
        VaultRoots(accept="first_use"),
        OFFERED,
        pinned=(),
        current=current.certificate,
        known=[ca.certificate for ca in known],
        mesh={certificate_id(ONE.certificate)},
    )
    assert found == tuple(ca.certificate for ca in counts)


def test_first_use_of_nothing() -> None:
    """`first_use` takes nothing while the issuer's root is not there."""
    config = VaultRoots(accept="first_use")
    assert accepted(config, OFFERED, pinned=(), current=None, known=()) == ()
