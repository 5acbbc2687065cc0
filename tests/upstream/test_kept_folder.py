"""Plugged-in CAs that are kept: whole, private, refused when damaged, and gone when forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca import durable
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.kept_folder import KeptFolder
from tests.fakes.pki import NOW, make_ca, material_of

ROOT, LATER = make_ca("root"), make_ca("later", begin=NOW)
UPPER = make_ca("upper", ROOT)
FIRST = material_of(make_ca("first", UPPER), UPPER, roots=[LATER, ROOT])
NEXT = material_of(make_ca("next", ROOT), roots=[ROOT])
SECOND = material_of(make_ca("second", LATER), roots=[LATER])
ONE, TWO = certificate_id(ROOT.certificate), certificate_id(LATER.certificate)


@pytest.fixture
def kept(tmp_path: Path) -> KeptFolder:
    """With one line."""
    folder = KeptFolder(tmp_path)
    folder.keep(FIRST)
    return folder


def loaded(folder: KeptFolder) -> dict[str, SigningMaterial]:
    """What is kept, without a problem."""
    problems: list[str] = []
    found = dict(folder.load(problems))
    assert problems == []
    return found


def test_nothing(tmp_path: Path) -> None:
    """Where nothing was kept there is nothing, and nothing is made."""
    folder = KeptFolder(tmp_path)
    assert (loaded(folder), folder.named([]), folder.forget(()), folder.path.exists()) == ({}, (), (), False)


def test_round_trip(kept: KeptFolder) -> None:
    """What was kept is loaded with its key, and so are the roots that it names."""
    [(root, material)] = loaded(kept).items()
    assert (root, material.fingerprint) == (ONE, FIRST.fingerprint)
    assert material.key.private_numbers() == FIRST.key.private_numbers()
    assert kept.named([]) == list(FIRST.roots)


def test_private(kept: KeptFolder) -> None:
    """The folder is 0700 and its files 0600."""
    assert f"{kept.path.stat().st_mode & 0o777:o}" == "700"
    assert {f"{path.stat().st_mode & 0o777:o}" for path in kept.path.iterdir()} == {"600"}
    assert sorted(path.name for path in kept.path.iterdir()) == [f"{ONE[:16]}.json", "named.pem"]


def test_order(kept: KeptFolder) -> None:
    """The root that began first comes first, and a newer material replaces the one below the same root only."""
    kept.keep(SECOND)
    kept.keep(NEXT)
    assert {root: material.fingerprint for root, material in loaded(kept).items()} == {
        ONE: NEXT.fingerprint,
        TWO: SECOND.fingerprint,
    }
    assert list(loaded(kept)) == [ONE, TWO]


def test_forget(kept: KeptFolder) -> None:
    """What is below other roots goes; files that are not ours stay."""
    kept.keep(SECOND)
    (kept.path / "notes.json").touch()
    assert kept.forget({TWO}) == (ONE[:16],)
    assert sorted(path.name for path in kept.path.iterdir()) == [f"{TWO[:16]}.json", "named.pem", "notes.json"]
    assert list(loaded(kept)) == [TWO]


def test_sweep(kept: KeptFolder) -> None:
    """What was left half written, a key perhaps, is not read and goes."""
    for name in (f".{ONE[:16]}.json.x1y2", ".named.pem.x1y2"):
        (kept.path / name).touch()
    assert list(loaded(kept)) == [ONE]
    kept.sweep()
    assert len(list(kept.path.iterdir())) == 2


def _without(part: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), part: ""}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda path: path.write_text("{"), "is damaged; restore it from a backup", id="no-json"),
        pytest.param(lambda path: path.write_text("[]"), "is damaged", id="no-object"),
        pytest.param(lambda path: path.write_text("{}"), "is damaged", id="nothing"),
        pytest.param(_without("key"), "is damaged", id="key"),
        pytest.param(_without("chain"), "is damaged", id="chain"),
        pytest.param(_without("roots"), "is damaged", id="roots"),
        pytest.param(
            lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "roots": LATER.pem})),
            "is damaged",
            id="no-path",
        ),
        pytest.param(lambda path: path.chmod(0o640), "run: chmod 600", id="readable-by-others"),
        pytest.param(
            lambda path: path.rename(path.with_name("0" * 16 + ".json")),
            "holds another root than its name says",
            id="another-root",
        ),
    ],
)
def test_damage(kept: KeptFolder, damage: Callable[[Path], object], problem: str) -> None:
    """A damaged file is told with its name and no part of it, and hides no other."""
    kept.keep(SECOND)
    damage(kept.path / f"{ONE[:16]}.json")
    problems: list[str] = []
    assert list(kept.load(problems)) == [TWO]
    [line] = problems
    assert (problem in line, ".json" in line, "BEGIN" in line) == (True, True, False)


def test_damaged_names(kept: KeptFolder) -> None:
    """Named roots that cannot be read are told."""
    (kept.path / "named.pem").write_text("damaged")
    problems: list[str] = []
    assert kept.named(problems) == ()
    assert "named.pem: expected one or more certificates" in problems[0]


def test_mended(kept: KeptFolder) -> None:
    """A damaged file is replaced when the same is kept once more."""
    (kept.path / f"{ONE[:16]}.json").write_text("damaged")
    kept.keep(FIRST)
    assert list(loaded(kept)) == [ONE]


def test_open_folder(kept: KeptFolder) -> None:
    """Nothing is kept where others may look."""
    kept.path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        kept.keep(SECOND)


def test_full_disk(kept: KeptFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is told, and what was kept before stays."""
    monkeypatch.setattr(durable, "replace", _no_space)
    with pytest.raises(Unavailable) as refused:
        kept.keep(NEXT)
    assert (refused.value.reason, loaded(kept)[ONE].fingerprint) == ("ca_folder", FIRST.fingerprint)


def test_cannot_be_forgotten(kept: KeptFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be removed is told."""
    monkeypatch.setattr(Path, "unlink", _no_space)
    with pytest.raises(Unavailable, match="No space"):
        kept.forget(())


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
