"""Facts about the private folders beside sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.errors import ConfigError
from meshca.wire import private_folder
from meshca.wire.peercred import open_gate


def inner(folder: Path) -> socket.socket:
    """A socket in a folder, as gRPC makes it; stale once it is closed."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(folder / private_folder.INNER))
    made.listen()
    return made


def test_folder_is_ours_alone(tmp_path: Path) -> None:
    """0700, beside the socket."""
    made = private_folder.make(tmp_path / "s")
    assert (made.parent, stat.S_IMODE(made.stat().st_mode)) == (tmp_path, 0o700)


@pytest.mark.parametrize(("path", "says"), [("x" * 80 + "/s", "at most"), ("no/s", "let us write")])
def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, path: str, says: str) -> None:
    """With what to do."""
    with pytest.raises(ConfigError) as refusal:
        private_folder.make(tmp_path / path)
    assert says in refusal.value.problems[0]


async def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    """Once the socket is ours; nobody else would ever remove it."""
    left = private_folder.make(tmp_path / "s")
    inner(left).close()
    async with open_gate(tmp_path / "s", allowed_uids=[os.getuid()], clock=SystemClock()):
        assert not left.exists()


def test_folder_in_use_stays(tmp_path: Path) -> None:
    """Another server's socket may be in the same folder."""
    used = private_folder.make(tmp_path / "s")
    with inner(used):
        private_folder.sweep(tmp_path)
    assert used.is_dir()


def test_folder_that_is_not_served_yet_stays(tmp_path: Path) -> None:
    """Its process may be starting."""
    fresh = private_folder.make(tmp_path / "s")
    private_folder.sweep(tmp_path)
    assert fresh.is_dir()


def test_folder_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not ours to judge."""
    theirs = private_folder.make(tmp_path / "s")
    inner(theirs).close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    private_folder.sweep(tmp_path)
    assert theirs.is_dir()


@pytest.mark.parametrize("name", [".p-short", ".private", ".p-ABCDEFGH"])
def test_folder_of_another_name_stays(tmp_path: Path, name: str) -> None:
    """We did not make it."""
    other = tmp_path / name
    other.mkdir()
    inner(other).close()
    private_folder.sweep(tmp_path)
    assert other.is_dir()


def test_parent_that_cannot_be_listed_is_left(tmp_path: Path) -> None:
    """Sweeping is a courtesy."""
    private_folder.sweep(tmp_path / "missing")
