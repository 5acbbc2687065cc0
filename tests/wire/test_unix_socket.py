"""Paths of listening sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshca.errors import ConfigError
from meshca.wire.unix_socket import check_free, listening


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder of ours."""
    (tmp_path / "p").mkdir()
    return tmp_path / "p"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Path]:
    """A path on which another process listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        yield tmp_path / "s"


def connect(path: Path) -> None:
    """Fail unless somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_free_path_is_free(tmp_path: Path) -> None:
    """Nothing there, nothing to say."""
    check_free(tmp_path / "s")


def test_stale_socket_is_free_and_replaced(tmp_path: Path, private: Path) -> None:
    """A file that a killed process left behind does not stand in the way."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    check_free(tmp_path / "s")
    with listening(tmp_path / "s", private, mode=0o600, backlog=1):
        connect(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_live_socket_is_refused_by_its_path(live: Path) -> None:
    """And goes on working."""
    with pytest.raises(ConfigError) as refusal:
        check_free(live)
    assert (refusal.value.source, "another process" in str(refusal.value)) == (str(live), True)
    connect(live)


def test_other_file_is_refused(tmp_path: Path) -> None:
    """It is never removed."""
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ConfigError, match="another file"):
        check_free(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_socket_that_cannot_be_probed_is_refused(tmp_path: Path) -> None:
    """A datagram socket answers a stream connection with another error than "refused"."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="cannot tell"):
            check_free(tmp_path / "s")


def test_path_that_cannot_be_bound_is_refused(tmp_path: Path, private: Path) -> None:
    """A folder that is not there."""
    with (
        pytest.raises(ConfigError, match="cannot listen"),
        listening(tmp_path / "no" / "s", private, mode=0o600, backlog=1),
    ):
        pass


def test_socket_of_a_successor_is_left_alone(tmp_path: Path, private: Path) -> None:
    """Only what we made is removed; a file that is gone is no error."""
    path = tmp_path / "s"
    with listening(path, private, mode=0o600, backlog=1):
        path.unlink()
        path.write_text("successor")
    assert path.read_text() == "successor"
    path.unlink()
    with listening(path, private, mode=0o600, backlog=1):
        path.unlink()
