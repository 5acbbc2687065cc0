"""The certificates on disk: they appear at once, and damage is told and never mended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca import durable
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.ca_folder import CaFolder
from tests.fakes.pki import make_ca

ROOT = make_ca("root")
ONE, TWO = make_ca("one", ROOT), make_ca("two", ROOT)


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    """A data directory with a CA in it."""
    made = CaFolder(tmp_path)
    made.publish(made.stage(), ROOT.certificate, ONE.certificate)
    return made


def test_round_trip(folder: CaFolder) -> None:
    """What was published is loaded."""
    assert (folder.exists(), folder.load()) == (True, (ROOT.certificate, ONE.certificate))


def test_modes(folder: CaFolder) -> None:
    """The folder is 0700 and its files 0600."""
    paths = [folder.path, *folder.path.iterdir()]
    assert [f"{path.stat().st_mode & 0o777:03o}" for path in paths] == ["700", "600", "600"]


def test_nothing_is_left_over(folder: CaFolder, tmp_path: Path) -> None:
    """After a first start only the folder is there."""
    assert (list(tmp_path.iterdir()), folder.interrupted()) == ([folder.path], False)


def test_interrupted(tmp_path: Path) -> None:
    """A first start that was killed is recognised, and the next one cleans up after it."""
    folder = CaFolder(tmp_path)
    folder.stage()
    assert (folder.interrupted(), folder.exists()) == (True, False)
    folder.publish(folder.stage(), ROOT.certificate, ONE.certificate)
    assert not folder.interrupted()


def test_never_over_another(folder: CaFolder) -> None:
    """A folder that is there is not replaced by a new CA."""
    with pytest.raises(Unavailable) as refused:
        folder.publish(folder.stage(), ROOT.certificate, TWO.certificate)
    assert (refused.value.reason, folder.load()) == ("ca_folder", (ROOT.certificate, ONE.certificate))


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
    folder.replace_intermediate(TWO.certificate)
    assert folder.load() == (ROOT.certificate, TWO.certificate)


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


def _no_space(*_: object) -> None:
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
    monkeypatch.setattr(durable, "replace", _no_space)
    with pytest.raises(Unavailable) as refused:
        folder.replace_intermediate(TWO.certificate)
    assert (refused.value.reason, folder.load()[1]) == ("ca_folder", ONE.certificate)


def test_data_dir_cannot_be_made(tmp_path: Path) -> None:
    """A file in the place of the data directory is refused."""
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError):
        CaFolder(tmp_path / "data")
