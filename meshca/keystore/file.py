"""Signing keys as files: PKCS#8 PEM, mode 0600, in a folder of mode 0700.

A key file that group or others can read is refused, never repaired: whoever could read it may have.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca import durable
from meshca.authority.keys import key_id, new_key
from meshca.authority.material import read_key
from meshca.errors import ConfigError, Unavailable
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey

_RESTORE = "restore it from a backup"
_SUFFIX = ".key.pem"


class FileKeyStore:
    """Implements `authority.keys.KeyStore`.

    Args:
        folder: made with the first key when it is not there.

    Raises:
        ConfigError: the folder could not be made, or others may use it.
    """

    def __init__(self, folder: Path) -> None:
        durable.check_private_folder(folder)
        self._folder = folder

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key, on disk when this returns.

        Raises:
            ConfigError: the folder cannot be made, or others may use it.
            Unavailable: reason `key_store`.
        """
        durable.make_private_folder(self._folder)
        key = new_key(key_type)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            durable.replace(self._path(key_id(key.public_key())), pem)
        except OSError as error:
            raise Unavailable("key_store", f"cannot write a key below {self._folder}: {error.strerror}") from None
        return key

    def load(self, key_id: str) -> SigningKey:
        """The key of this name.

        Raises:
            ConfigError: it is missing, damaged, another one, or readable by others.
        """
        path = self._path(key_id)
        key = read_key(durable.read_private(path, _RESTORE), str(path))
        if _name(key) != key_id:
            raise ConfigError(str(path), [f"holds another key than its name says; {_RESTORE}"])
        return key

    def key_ids(self) -> frozenset[str]:
        """The names of all keys."""
        return frozenset(path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"[!.]*{_SUFFIX}"))

    def keep_only(self, key_ids: frozenset[str]) -> None:
        """Forget every other key, and what a process that was killed has left half written.

        Raises:
            Unavailable: reason `key_store`.
        """
        others = [self._path(name) for name in self.key_ids() - key_ids]
        try:
            for path in (*others, *self._folder.glob(f".*{_SUFFIX}.*")):
                path.unlink(missing_ok=True)
            if self._folder.exists():
                durable.sync_folder(self._folder)
        except OSError as error:
            raise Unavailable("key_store", f"cannot remove a key below {self._folder}: {error.strerror}") from None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"


def _name(key: SigningKey) -> str:
    return key_id(key.public_key())
