"""The certificates on disk: they appear at once, and damage is told and never mended."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from meshca import durable
from meshca.authority.material import certificate_id
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.ca_folder import CaFolder
from tests.fakes.pki import DAY, NOW, make_ca

ROOT = make_ca("root")
ONE, TWO = make_ca("one", ROOT), make_ca("two", ROOT)
LATER = make_ca("later root", begin=NOW)
BELOW = make_ca("three", LATER)
NAME = certificate_id(LATER.certificate)[:16]


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    """A data directory with a CA in it."""
    made = CaFolder(tmp_path)
    made.publish(made.stage(), ROOT.certificate, ONE.certificate)
    return made


@pytest.fixture
def both(folder: CaFolder) -> CaFolder:
    """With a further root."""
    folder.publish(folder.stage(), LATER.certificate, BELOW.certificate)
    return folder


def certificates(folder: CaFolder) -> list[tuple[x509.Certificate, x509.Certificate]]:
    """What is loaded."""
    return [(pair.root, pair.intermediate) for pair in folder.load()]


def names(folder: CaFolder) -> list[str]:
    """All that is there."""
    return sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*"))


def test_round_trip(folder: CaFolder) -> None:
    """What was published is loaded."""
    assert (folder.exists(), certificates(folder)) == (True, [(ROOT.certificate, ONE.certificate)])


def test_modes(folder: CaFolder) -> None:
    """The folder is 0700 and its files 0600."""
    paths = [folder.path, *folder.path.iterdir()]
    assert [f"{path.stat().st_mode & 0o777:03o}" for path in paths] == ["700", "600", "600"]


def test_nothing_is_left_over(folder: CaFolder, tmp_path: Path) -> None:
    """After a first start only the folder is there."""
    assert (list(tmp_path.iterdir()), folder.interrupted()) == ([folder.path], False)


def test_interrupted(tmp_path: Path) -> None:
    """A first start that was killed is recognised, and its traces can be swept away after the next."""
    folder = CaFolder(tmp_path)
    folder.stage()
    assert (folder.interrupted(), folder.exists()) == (True, False)
    folder.publish(folder.stage(), ROOT.certificate, ONE.certificate)
    folder.sweep()
    assert not folder.interrupted()


def test_first_of_two_starts(tmp_path: Path) -> None:
    """A folder that is there is not replaced by what another first start had begun."""
    folder = CaFolder(tmp_path)
    late = folder.stage()
    folder.publish(folder.stage(), ROOT.certificate, ONE.certificate)
    with pytest.raises(Unavailable) as refused:
        folder.publish(late, LATER.certificate, BELOW.certificate)
    assert (refused.value.reason, certificates(folder)) == ("ca_folder", [(ROOT.certificate, ONE.certificate)])


def test_never_over_another(both: CaFolder) -> None:
    """A pair that is there is not replaced by a new one below the same root."""
    with pytest.raises(Unavailable) as refused:
        both.publish(both.stage(), LATER.certificate, make_ca("x", LATER).certificate)
    assert (refused.value.reason, certificates(both)[1][1]) == ("ca_folder", BELOW.certificate)


class TestFurther:
    """More than one root."""

    def test_both(self, both: CaFolder) -> None:
        """A further pair is in a folder of its own, private, and comes after the one that began first."""
        assert certificates(both) == [
            (ROOT.certificate, ONE.certificate),
            (LATER.certificate, BELOW.certificate),
        ]
        assert names(both) == [
            NAME,
            f"{NAME}/intermediate.pem",
            f"{NAME}/root.pem",
            "intermediate.pem",
            "root.pem",
        ]
        assert {f"{path.stat().st_mode & 0o777:03o}" for path in both.path.rglob("*")} == {"700", "600"}

    def test_order(self, folder: CaFolder) -> None:
        """The order is that of the roots' beginnings, whichever was made here first."""
        older = make_ca("older root", begin=NOW - 9 * DAY)
        folder.publish(folder.stage(), older.certificate, make_ca("x", older).certificate)
        assert [pair.root for pair in folder.load()] == [older.certificate, ROOT.certificate]

    def test_replace_intermediate(self, both: CaFolder) -> None:
        """A new intermediate takes the place of the one below the same root only."""
        other = make_ca("other", LATER)
        both.replace_intermediate(both.load()[1], other.certificate)
        assert [pair.intermediate for pair in both.load()] == [ONE.certificate, other.certificate]

    def test_first_goes(self, both: CaFolder) -> None:
        """When the first pair goes, the others stay where they are."""
        both.discard(both.load()[0])
        assert certificates(both) == [(LATER.certificate, BELOW.certificate)]
        both.sweep()
        assert names(both) == [NAME, f"{NAME}/intermediate.pem", f"{NAME}/root.pem"]
        assert certificates(both) == [(LATER.certificate, BELOW.certificate)]

    def test_further_goes(self, both: CaFolder) -> None:
        """When a further pair goes, the first stays where it is."""
        both.discard(both.load()[1])
        assert certificates(both) == [(ROOT.certificate, ONE.certificate)]
        both.sweep()
        assert names(both) == ["intermediate.pem", "root.pem"]

    def test_restored_over_a_mark(self, both: CaFolder) -> None:
        """A first pair that a backup brings back counts, although it had gone."""
        both.discard(both.load()[0])
        (both.path / "root.pem").write_text(ROOT.pem)
        both.sweep()
        assert certificates(both)[0] == (ROOT.certificate, ONE.certificate)

    def test_first_half_lost(self, both: CaFolder) -> None:
        """A first pair of which one file is missing is damage, however many others there are."""
        (both.path / "root.pem").unlink()
        with pytest.raises(ConfigError, match=r"ca/root\.pem: cannot be read"):
            both.load()

    def test_another_root_than_the_name_says(self, both: CaFolder) -> None:
        """A folder that is not called after the root in it is refused."""
        (both.path / NAME).rename(both.path / ("0" * 16))
        with pytest.raises(ConfigError, match="0000: holds another root than its name says; restore it"):
            both.load()

    def test_what_is_not_ours(self, both: CaFolder) -> None:
        """Folders that are not named as ours are neither read nor swept away."""
        for name in ("lost+found", ".nfs0001", "0123"):
            (both.path / name).mkdir()
        both.sweep()
        assert {".nfs0001", "lost+found", "0123"} <= set(names(both))
        assert len(both.load()) == 2

    def test_swept(self, both: CaFolder) -> None:
        """What somebody who was killed left half made goes; it was never loaded."""
        before = names(both)
        both.stage()
        (both.path / ".root.pem.x1y2").touch()
        (both.path / NAME / ".intermediate.pem.x1y2").touch()
        assert len(both.load()) == 2
        both.sweep()
        assert names(both) == before

    @pytest.mark.parametrize("act", ["discard", "sweep"])
    def test_cannot_be_removed(self, both: CaFolder, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
        """What cannot be removed now is told."""
        both.stage()
        monkeypatch.setattr(Path, "rename", _no_space)
        monkeypatch.setattr(shutil, "rmtree", _no_space)
        with pytest.raises(Unavailable) as refused:
            both.discard(both.load()[0]) if act == "discard" else both.sweep()
        assert refused.value.reason == "ca_folder"


def test_lock(folder: CaFolder) -> None:
    """While one holds the lock, another waits for it."""
    done: list[str] = []

    def other() -> None:
        with CaFolder(folder.path.parent).locked():
            done.append("other")

    with folder.locked():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        done.append("first")
    thread.join()
    assert done == ["first", "other"]


def test_lock_without_folder(folder: CaFolder, tmp_path: Path) -> None:
    """A data directory that has gone cannot be locked."""
    tmp_path.rename(tmp_path.with_name("gone"))
    with pytest.raises(Unavailable), folder.locked():
        pytest.fail("locked")


def test_replace_intermediate(folder: CaFolder) -> None:
    """A new intermediate takes the place of the old one."""
    folder.replace_intermediate(folder.load()[0], TWO.certificate)
    assert certificates(folder) == [(ROOT.certificate, TWO.certificate)]


@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(lambda path: path.unlink(), "No such file", id="missing"),
        pytest.param(lambda path: path.write_text(""), "expected one or more", id="empty"),
        pytest.param(lambda path: path.write_text(path.read_text()[:100]), "expected one or more", id="half"),
        pytest.param(lambda path: path.write_text(ONE.pem + TWO.pem), "exactly one", id="two-certificates"),
    ],
)
def test_damage(folder: CaFolder, name: str, damage: Callable[[Path], object], problem: str) -> None:
    """A missing or damaged file is named, with what is wrong and what to do."""
    damage(folder.path / name)
    with pytest.raises(ConfigError) as refused:
        folder.load()
    [line] = refused.value.problems
    assert [part in line for part in (name, problem, "restore it from a backup")] == [True, True, True]


def test_all_damage_at_once(folder: CaFolder) -> None:
    """Both files are named when both are damaged."""
    for path in folder.path.iterdir():
        path.unlink()
    with pytest.raises(ConfigError) as refused:
        folder.load()
    assert len(refused.value.problems) == 2


def test_open_folder(folder: CaFolder) -> None:
    """A folder that others may use is refused."""
    folder.path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        folder.load()


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_full_disk_at_the_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first start on a full disk says so and leaves no CA."""
    folder = CaFolder(tmp_path)
    staged = folder.stage()
    monkeypatch.setattr(durable, "replace", _no_space)
    with pytest.raises(Unavailable, match="No space"):
        folder.publish(staged, ROOT.certificate, ONE.certificate)
    assert not folder.exists()


def test_full_disk_later(folder: CaFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intermediate that cannot be kept leaves the old one."""
    [pair] = folder.load()
    monkeypatch.setattr(durable, "replace", _no_space)
    with pytest.raises(Unavailable) as refused:
        folder.replace_intermediate(pair, TWO.certificate)
    assert (refused.value.reason, folder.load()[0].intermediate) == ("ca_folder", ONE.certificate)


def test_data_dir_cannot_be_made(tmp_path: Path) -> None:
    """A file in the place of the data directory is refused."""
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError):
        CaFolder(tmp_path / "data")
