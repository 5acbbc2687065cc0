"""A spool file: whole lines only, private, and locked as long as its process lives."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshca import durable
from meshca.store.spool.file import SpoolFile, orphaned, remove, set_aside


def test_a_file_is_private(tmp_path: Path) -> None:
    """0600, whatever the umask."""
    file = SpoolFile(tmp_path / "a.jsonl")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.close()


def test_lines_are_added(tmp_path: Path) -> None:
    """In order."""
    file = SpoolFile(tmp_path / "a.jsonl")
    file.append(b"one\n")
    file.append(b"two\n")
    file.close()
    assert file.path.read_bytes() == b"one\ntwo\n"


def test_a_file_is_not_taken_over(tmp_path: Path) -> None:
    """What is there belongs to somebody."""
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(FileExistsError):
        SpoolFile(tmp_path / "a.jsonl")


def test_a_folder_that_cannot_be_synced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name may be lost keeps nothing."""

    def fail(_: Path) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(durable, "sync_folder", fail)
    with pytest.raises(OSError, match="no"):
        SpoolFile(tmp_path / "a.jsonl")


def test_a_write_that_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one follows what was there before."""
    file = SpoolFile(tmp_path / "a.jsonl")
    file.append(b"one\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _full)
        with pytest.raises(OSError, match="full"):
            file.append(b"two\n")
    file.append(b"three\n")
    file.close()
    assert file.path.read_bytes() == b"one\nthree\n"


def test_a_file_that_cannot_be_mended_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half line must be the last one."""
    file = SpoolFile(tmp_path / "a.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _full)
        patched.setattr(os, "ftruncate", _full)
        with pytest.raises(OSError, match="full"):
            file.append(b"two\n")
    with pytest.raises(OSError, match="an earlier write failed halfway"):
        file.append(b"three\n")
    file.close()


def _full(*_: object) -> None:
    raise OSError(28, "full")


def test_a_file_in_use_is_no_orphan(tmp_path: Path) -> None:
    """Until it is closed."""
    file = SpoolFile(tmp_path / "a.jsonl")
    with orphaned(file.path) as found:
        assert not found
    file.close()
    with orphaned(file.path) as found:
        assert found


def test_the_file_of_a_killed_process_is_an_orphan(tmp_path: Path) -> None:
    """The kernel gives up its lock."""
    path = tmp_path / "a.jsonl"
    code = (
        "import os, signal, sys; from pathlib import Path; from meshca.store.spool.file import SpoolFile;"
        "file = SpoolFile(Path(sys.argv[1])); file.append(b'one\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.read_bytes() == b"one\n"
    with orphaned(path) as found:
        assert found


def test_two_processes_do_not_bring_one_orphan(tmp_path: Path) -> None:
    """The first has it."""
    path = tmp_path / "a.jsonl"
    path.touch()
    with orphaned(path) as first, orphaned(path) as second:
        assert (first, second) == (True, False)


def test_an_orphan_that_another_has_brought_is_none(tmp_path: Path) -> None:
    """It was removed between the look into the folder and this one."""
    path = tmp_path / "a.jsonl"
    path.touch()
    with orphaned(path) as first:
        assert first
        descriptor = os.open(path, os.O_RDWR)
        remove(path)
        assert os.fstat(descriptor).st_nlink == 0
        os.close(descriptor)
    with pytest.raises(FileNotFoundError), orphaned(path):
        pass
    remove(path)  # again is no harm


def test_a_file_is_set_aside(tmp_path: Path) -> None:
    """With its content."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x")
    set_aside(path, ".damaged")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.damaged", b"x")]
