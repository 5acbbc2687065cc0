"""What a seal opens, and what it refuses."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from meshca.errors import ConfigError
from meshca.upstream.seal import Seal

KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """With a key."""
    made = tmp_path / "seal"
    made.touch(0o600)
    made.write_bytes(base64.b64encode(KEY) + b"\n")
    return made


@pytest.mark.parametrize("contents", [b"", b"hush", bytes(70_000)])
def test_round_trip(file: Path, contents: bytes) -> None:
    """What was sealed opens, in another process too, and looks different each time."""
    sealed = [Seal(file).close("name", contents) for _ in range(2)]
    assert [Seal(file).open("name", one, "here") for one in sealed] == [contents] * 2
    assert sealed[0] != sealed[1]


def test_hides(file: Path) -> None:
    """What was sealed is not in what comes out."""
    assert b"hush" not in Seal(file).close("name", b"hush")


@pytest.mark.parametrize("place", [0, 16, 30, -1])
def test_changed(file: Path, place: int) -> None:
    """What was changed anywhere does not open, and is told by where it lies."""
    sealed = bytearray(Seal(file).close("name", b"hush"))
    sealed[place] ^= 1
    with pytest.raises(ConfigError, match="here"):
        Seal(file).open("name", bytes(sealed), "here")


@pytest.mark.parametrize("length", [0, 10, 16, 20, 40])
def test_cut_off(file: Path, length: int) -> None:
    """What was cut off does not open."""
    with pytest.raises(ConfigError, match="here"):
        Seal(file).open("name", Seal(file).close("name", b"hush")[:length], "here")


def test_another_name(file: Path) -> None:
    """What was sealed for one name does not open under another."""
    with pytest.raises(ConfigError, match="does not open"):
        Seal(file).open("other", Seal(file).close("name", b"hush"), "here")


def test_another_key(file: Path) -> None:
    """What was sealed by another key does not open, and the text says whose key is wanted."""
    sealed = Seal(file).close("name", b"hush")
    file.write_bytes(base64.b64encode(bytes(32)))
    with pytest.raises(ConfigError, match="custody_seal_file"):
        Seal(file).open("name", sealed, "here")


@pytest.mark.parametrize("content", [b"", b"!", base64.b64encode(bytes(16)), base64.b64encode(bytes(33)), KEY])
def test_no_key(file: Path, content: bytes) -> None:
    """A file that holds no key of 32 bytes is refused, with how to make one and without what it holds."""
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="openssl rand -base64 32") as refused:
        Seal(file)
    assert base64.b64encode(bytes(16)).decode() not in str(refused.value)


def test_readable_by_others(file: Path) -> None:
    """A key that others may read is refused."""
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="seal"):
        Seal(file)
