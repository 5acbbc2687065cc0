"""Facts about the data directory."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from meshca.app.data_dir import alone_in, locked
from meshca.errors import ConfigError


def test_made_private(tmp_path: Path) -> None:
    """The directory is made with mode 0700."""
    with locked(tmp_path / "a" / "data"):
        assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second server is refused while the first holds it."""
    with locked(tmp_path / "data"):
        with pytest.raises(ConfigError, match="is used by another meshca"), locked(tmp_path / "data"):
            pass
        with pytest.raises(ConfigError, match="choose another data_dir"), locked(tmp_path / "data"):
            pass


def test_free_afterwards(tmp_path: Path) -> None:
    """Afterwards it can be used again; the lock's file stays and means nothing."""
    for _ in range(2):
        with locked(tmp_path / "data"):
            pass
    assert (tmp_path / "data" / "lock").exists()


def test_open_to_others(tmp_path: Path) -> None:
    """A directory that others may use is refused, with the command that closes it."""
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"), locked(tmp_path):
        pass


def test_open_to_its_group(tmp_path: Path) -> None:
    """One of ours that its group may use, as the kubelet leaves it at each mount, is closed and used."""
    tmp_path.chmod(0o2770)
    with locked(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_not_a_folder(tmp_path: Path) -> None:
    """A file in its place is refused."""
    (tmp_path / "data").write_text("x")
    with pytest.raises(ConfigError, match="data"), locked(tmp_path / "data"):
        pass


def test_folder_that_is_gone(tmp_path: Path) -> None:
    """A folder in which no lock can be made is refused."""
    with pytest.raises(ConfigError, match="cannot be written"), alone_in(tmp_path / "none", "x"):
        pass
