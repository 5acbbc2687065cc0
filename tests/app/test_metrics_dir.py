"""Facts about the folder that processes share their metrics in."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from meshca.app import metrics_dir
from meshca.app.metrics_dir import DIRECTORY_VARIABLE, PROCESS_VARIABLE, environment, metrics_directory
from meshca.errors import ConfigError


def test_folder_is_private_and_named() -> None:
    """Inside the block the folder exists for us alone and the environment names it."""
    with metrics_directory() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert os.environ[DIRECTORY_VARIABLE] == str(folder)


def test_nothing_is_left() -> None:
    """After the block neither the folder nor the variables are there."""
    with metrics_directory() as folder:
        (folder / "counter_w0.db").write_bytes(b"x")
    assert not folder.exists()
    assert DIRECTORY_VARIABLE not in os.environ
    assert PROCESS_VARIABLE not in os.environ


def test_stopped_while_it_is_made(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that ends us the moment the folder exists, before anything knows of it, and the folder goes too."""
    make = Path.mkdir

    def made_and_signalled(folder: Path, mode: int) -> None:
        make(folder, mode)
        raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr(Path, "mkdir", made_and_signalled)
    with pytest.raises(SystemExit), metrics_directory():
        pass
    assert list(memory.iterdir()) == []


def test_worker_has_its_own_name() -> None:
    """A worker's environment names the same folder and its own name."""
    with metrics_directory() as folder:
        made = environment(folder, "w3")
    assert (made[DIRECTORY_VARIABLE], made[PROCESS_VARIABLE]) == (str(folder), "w3")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the file system in memory; TMPDIR is another folder."""
    made = tmp_path / "memory"
    made.mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(metrics_dir, "MEMORY", made)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return made


def test_folder_is_in_memory(memory: Path) -> None:
    """A disk that fills up would kill the processes by SIGBUS; the name says whose it is."""
    with metrics_directory() as folder:
        assert folder.parent == memory
        assert re.fullmatch(f"meshca-metrics-{os.getpid()}-[a-z0-9_]+", folder.name)


def test_folder_is_temporary_where_memory_is_none(memory: Path, tmp_path: Path) -> None:
    """Not every system has /dev/shm."""
    memory.rmdir()
    with metrics_directory() as folder:
        assert folder.parent == tmp_path / "tmp"


def test_no_room_is_told(memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with both places, and nothing is left."""

    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError) as caught, metrics_directory():
        pass
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [str(memory), str(tmp_path / "tmp")]
    assert "No space left on device" in caught.value.problems[0]
    assert [*memory.iterdir(), *(tmp_path / "tmp").iterdir()] == []


HOLDS = """
import sys
from pathlib import Path
from meshca.app import metrics_dir
metrics_dir.MEMORY = Path(sys.argv[1])
with metrics_dir.metrics_directory() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folder_of_a_killed_server_is_swept(memory: Path) -> None:
    """And that of one that runs stays."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(memory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with metrics_directory():
            assert theirs.is_dir()
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert theirs.is_dir()
    with metrics_directory() as ours:
        assert list(memory.iterdir()) == [ours]


def test_other_folders_are_left_alone(memory: Path) -> None:
    """Whatever they are called."""
    others = [memory / "meshca-metrics", memory / "meshca-metrics-x-y", memory / "other-1-a"]
    for other in others:
        other.mkdir()
    with metrics_directory():
        assert all(other.is_dir() for other in others)
