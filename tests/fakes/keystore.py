"""Signing keys that end with the process."""

from __future__ import annotations

from meshca.authority.keys import key_id, new_key
from meshca.errors import ConfigError
from meshca.identity.key_type import KeyType
from meshca.svid.signature import SigningKey


class MemoryKeyStore:
    """Implements `authority.keys.KeyStore`."""

    def __init__(self) -> None:
        self._keys: dict[str, SigningKey] = {}

    def create(self, key_type: KeyType) -> SigningKey:
        """A new key."""
        key = new_key(key_type)
        self._keys[key_id(key.public_key())] = key
        return key

    def load(self, key_id: str) -> SigningKey:
        """The key of this name.

        Raises:
            ConfigError: there is none.
        """
        if key_id not in self._keys:
            raise ConfigError("key store", [f"there is no key {key_id}"])
        return self._keys[key_id]

    def key_ids(self) -> frozenset[str]:
        """The names of all keys."""
        return frozenset(self._keys)

    def keep_only(self, key_ids: frozenset[str]) -> None:
        """Forget every other key."""
        self._keys = {name: key for name, key in self._keys.items() if name in key_ids}
