"""Private files: whole or not there, and ours alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshca import durable
from meshca.errors import ConfigError


def mode_of(path: Path) -> str:
    """The permission bits of a file or folder."""
    return f"{path.stat().st_mode & 0o777:03o}"


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


class TestFolders:
    """`make_folder` and `make_private_folder`."""

    def test_made_private(self, tmp_path: Path) -> None:
        """A folder and those above it are made for us alone."""
        durable.make_private_folder(tmp_path / "a" / "b")
        assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")) == ("700", "700")

    def test_an_open_folder_stays(self, tmp_path: Path) -> None:
        """A folder that is there stays as it is."""
        tmp_path.chmod(0o755)
        durable.make_folder(tmp_path)
        assert mode_of(tmp_path) == "755"

    @pytest.mark.parametrize("mode", [0o750, 0o705, 0o770])
    def test_open_folder_is_not_private(self, tmp_path: Path, mode: int) -> None:
        """A private folder that others may use is refused, with the command that mends it."""
        tmp_path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
            durable.make_private_folder(tmp_path)

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        """A file in the way is refused."""
        (tmp_path / "a").touch()
        with pytest.raises(ConfigError, match="as a folder"):
            durable.make_folder(tmp_path / "a")


class TestReplace:
    """`replace`: atomic and 0600."""

    def test_new(self, tmp_path: Path) -> None:
        """A new file is private whatever the umask, and nothing else is left."""
        before = os.umask(0)
        try:
            durable.replace(tmp_path / "key", b"secret")
        finally:
            os.umask(before)
        assert (mode_of(tmp_path / "key"), names(tmp_path)) == ("600", ["key"])

    def test_in_place_of_an_open_one(self, tmp_path: Path) -> None:
        """The new file is private although the old one was open."""
        (tmp_path / "key").write_bytes(b"old")
        (tmp_path / "key").chmod(0o644)
        durable.replace(tmp_path / "key", b"new")
        assert ((tmp_path / "key").read_bytes(), mode_of(tmp_path / "key")) == (b"new", "600")

    def test_readers_go_on(self, tmp_path: Path) -> None:
        """An open reader goes on reading the old content."""
        durable.replace(tmp_path / "key", b"old")
        with (tmp_path / "key").open("rb") as reader:
            durable.replace(tmp_path / "key", b"new")
            assert reader.read() == b"old"

    def test_interrupted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever ends a write leaves no half behind."""

        def interrupted(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            durable.replace(tmp_path / "key", b"new")
        assert names(tmp_path) == []

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a full disk the old file is still there and no half of the new one."""
        durable.replace(tmp_path / "key", b"old")
        monkeypatch.setattr(os, "fsync", _no_space)
        with pytest.raises(OSError, match="No space"):
            durable.replace(tmp_path / "key", b"new")
        assert ((tmp_path / "key").read_bytes(), names(tmp_path)) == (b"old", ["key"])

    def test_no_folder(self, tmp_path: Path) -> None:
        """Without the folder there is an OSError."""
        with pytest.raises(FileNotFoundError):
            durable.replace(tmp_path / "gone" / "key", b"new")


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


class TestRead:
    """`read` and `read_private`."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """What was written is read."""
        durable.replace(tmp_path / "key", b"secret")
        assert durable.read_private(tmp_path / "key") == durable.read(tmp_path / "key") == b"secret"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
    def test_open_file(self, tmp_path: Path, mode: int) -> None:
        """A private file that others may use in any way is refused, with the command that mends it."""
        path = tmp_path / "key"
        durable.replace(path, b"secret")
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            durable.read_private(path)

    def test_missing(self, tmp_path: Path) -> None:
        """A missing file is named."""
        with pytest.raises(ConfigError, match="No such file"):
            durable.read(tmp_path / "key")

    def test_too_large(self, tmp_path: Path) -> None:
        """A file beyond the limit is refused."""
        with (tmp_path / "key").open("wb") as file:
            file.truncate(durable.LARGEST + 1)
        with pytest.raises(ConfigError, match="larger than"):
            durable.read(tmp_path / "key")


def test_a_file_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    """Not only what is wrong."""
    with pytest.raises(ConfigError) as caught:
        durable.read(tmp_path / "none")
    assert "name a file that this user may read" in caught.value.problems[0]
