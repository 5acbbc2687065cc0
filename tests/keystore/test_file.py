"""Keys as files: private, named by what they hold, refused when anything is off."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca import durable
from meshca.authority.keys import key_id
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.keystore.file import FileKeyStore


@pytest.fixture
def keys(tmp_path: Path) -> FileKeyStore:
    """An empty key store in `keys`."""
    return FileKeyStore(tmp_path / "keys")


def create(keys: FileKeyStore) -> str:
    """Make a key and tell its name."""
    return key_id(keys.create(KeyType.EC_P256).public_key())


def test_modes(keys: FileKeyStore, tmp_path: Path) -> None:
    """The folder is 0700 and a key file 0600."""
    path = tmp_path / "keys" / f"{create(keys)}.key.pem"
    assert [f"{p.stat().st_mode & 0o777:03o}" for p in (path.parent, path)] == ["700", "600"]


def test_survives_a_restart(keys: FileKeyStore, tmp_path: Path) -> None:
    """A new store over the same folder finds the keys."""
    name = create(keys)
    again = FileKeyStore(tmp_path / "keys")
    assert again.key_ids() == {name} == {key_id(again.load(name).public_key())}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_readable_by_others(keys: FileKeyStore, tmp_path: Path, mode: int) -> None:
    """A key that group or others can read is refused, with the command that mends it."""
    name = create(keys)
    path = tmp_path / "keys" / f"{name}.key.pem"
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        keys.load(name)


def test_open_folder(tmp_path: Path) -> None:
    """A folder that others may use is refused."""
    (tmp_path / "keys").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        FileKeyStore(tmp_path / "keys")


def test_nothing_to_forget(keys: FileKeyStore, tmp_path: Path) -> None:
    """Where there are no keys yet none are forgotten, and nothing is made."""
    keys.keep_only(frozenset())
    assert not (tmp_path / "keys").exists()


def test_damaged(keys: FileKeyStore, tmp_path: Path) -> None:
    """A damaged key is refused, naming the file."""
    name = create(keys)
    path = tmp_path / "keys" / f"{name}.key.pem"
    durable.replace(path, path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=str(path)):
        keys.load(name)


def test_another_key(keys: FileKeyStore, tmp_path: Path) -> None:
    """A file that holds another key than its name says is refused."""
    one, two = create(keys), create(keys)
    (tmp_path / "keys" / f"{one}.key.pem").replace(tmp_path / "keys" / f"{two}.key.pem")
    with pytest.raises(ConfigError, match="another key"):
        keys.load(two)


def test_full_disk(keys: FileKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be stored is not given out."""
    monkeypatch.setattr(durable, "replace", _no_space)
    with pytest.raises(Unavailable, match="No space"):
        keys.create(KeyType.EC_P256)


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_key_that_cannot_be_removed(keys: FileKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that stays although it should go is told."""
    create(keys)
    monkeypatch.setattr(Path, "unlink", _no_space)
    with pytest.raises(Unavailable) as refused:
        keys.keep_only(frozenset())
    assert refused.value.reason == "key_store"


def test_half_written_files_are_no_keys(keys: FileKeyStore, tmp_path: Path) -> None:
    """What a killed process left half written is not taken for a key, and goes when keys are forgotten."""
    name = create(keys)
    half = tmp_path / "keys" / ".ab.key.pem.x1y2"
    half.touch()
    assert keys.key_ids() == {name}
    keys.keep_only(frozenset({name}))
    assert keys.key_ids() == {name}
    assert not half.exists()
