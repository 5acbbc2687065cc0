"""Private files: whole or not there, and ours alone."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from meshca import durable
from meshca.errors import ConfigError

OURS = f"give it, and the folders above it, to this user (uid {os.geteuid()}) with chown or chmod"


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

    @pytest.mark.parametrize("mode", [0o705, 0o755, 0o777, 0o1777])
    def test_open_folder_is_not_private(self, tmp_path: Path, mode: int) -> None:
        """A private folder that everybody may use is refused, with the command that mends it, and stays so."""
        tmp_path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
            durable.make_private_folder(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == mode

    @pytest.mark.parametrize("mode", [0o750, 0o770, 0o2770])
    def test_open_to_its_group(self, tmp_path: Path, mode: int) -> None:
        """One of ours that its group may use, as the kubelet leaves it, is closed; checking changes nothing."""
        tmp_path.chmod(mode)
        durable.check_private_folder(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == mode
        durable.make_private_folder(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700

    def test_open_to_its_group_and_not_ours(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One of another owner is refused."""
        tmp_path.chmod(0o2770)
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        for use in (durable.make_private_folder, durable.check_private_folder):
            with pytest.raises(ConfigError, match=f"mode 2770.*chmod 700 {tmp_path}"):
                use(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o2770

    def test_cannot_be_closed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system that does not let us close it is named."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        tmp_path.chmod(0o770)
        monkeypatch.setattr(Path, "chmod", refuse)
        with pytest.raises(ConfigError, match="cannot be kept private"):
            durable.make_private_folder(tmp_path)

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        """A file in the way is refused."""
        (tmp_path / "a").touch()
        with pytest.raises(ConfigError, match="as a folder"):
            durable.make_folder(tmp_path / "a")


class TestCheckFolder:
    """`check_folder` and `check_private_folder`: what would be refused, without making anything."""

    @pytest.mark.parametrize("name", [".", "a", "a/b"], ids=["there", "missing", "missing with its parent"])
    def test_good(self, tmp_path: Path, name: str) -> None:
        """A folder that is there, or could be made."""
        durable.check_private_folder(tmp_path / name)
        assert names(tmp_path) == []

    def test_open_to_others(self, tmp_path: Path) -> None:
        """One that others may use is no private one."""
        tmp_path.chmod(0o755)
        durable.check_folder(tmp_path)
        with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
            durable.check_private_folder(tmp_path)

    @pytest.mark.parametrize("name", ["file", "file/below"])
    def test_a_file_in_the_way(self, tmp_path: Path, name: str) -> None:
        """A file in its place or above it."""
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="as a folder"):
            durable.check_folder(tmp_path / name)

    @pytest.mark.parametrize("name", [".", "a"], ids=["there", "missing"])
    def test_not_writable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """One that we may not write, or not make; what must change is named."""
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
        with pytest.raises(ConfigError, match=f"make {tmp_path} writable for this user"):
            durable.check_folder(tmp_path / name)

    def test_not_to_be_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One below a folder that may not be entered."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "stat", refuse)
        with pytest.raises(ConfigError, match=r"\(Permission denied\); give it"):
            durable.check_folder(tmp_path / "a")


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


@pytest.mark.parametrize("read", [durable.read, durable.read_private, durable.read_text])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """A named pipe would make us wait for ever, a device may never end, a folder holds nothing."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match="is no regular file"):
            read(path)


class TestText:
    """`read_text`: what operators write."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """What was written is read, line ends as they are."""
        (tmp_path / "a.yaml").write_bytes("ä\r\n".encode())
        assert durable.read_text(tmp_path / "a.yaml") == "ä\r\n"

    @pytest.mark.parametrize(
        ("spoil", "line"),
        [
            pytest.param(Path.exists, "(No such file or directory); name an existing file", id="missing"),
            pytest.param(lambda f: f.write_bytes(b"\xff"), "is not UTF-8 text", id="binary"),
            pytest.param(os.mkfifo, "is no regular file", id="pipe"),
            pytest.param(lambda f: f.write_text("x" * (durable.LARGEST + 1)), "is larger than", id="large"),
        ],
    )
    def test_refused(self, tmp_path: Path, spoil: Callable[[Path], object], line: str) -> None:
        """What is no text, or cannot be had, is told."""
        path = tmp_path / "a.yaml"
        spoil(path)
        with pytest.raises(ConfigError) as caught:
            durable.read_text(path)
        assert line in caught.value.problems[0]


class TestIsFolder:
    """`is_folder`."""

    def test_folder(self, tmp_path: Path) -> None:
        """A folder is one, a file and nothing are none."""
        (tmp_path / "file").touch()
        assert [durable.is_folder(tmp_path / name) for name in (".", "file", "none")] == [True, False, False]

    def test_not_to_be_seen(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What cannot be looked at is none, and no error."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "stat", refuse)
        assert not durable.is_folder(tmp_path)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOENT, "cannot be read (No such file or directory); restore it"),
        (errno.ENOTDIR, "cannot be read (Not a directory); restore it"),
        (errno.EACCES, f"cannot be read (Permission denied); {OURS}"),
        (errno.EIO, "cannot be read (Input/output error)"),
    ],
)
def test_advice_fits_the_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, line: str) -> None:
    """What to do about a file that is gone differs from what to do about one that we may not read."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError) as caught:
        durable.read(tmp_path / "key", "restore it")
    assert caught.value.problems == (line,)
