"""Seals what lies where others may read or write it, with a key that is not there.

AES-256-GCM: what was changed, or put under another name, does not open. A key file must never be made here: one
that is lost is told, not replaced.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from meshca import durable
from meshca.errors import ConfigError

_KEY: Final = 32  # bytes: AES-256
_NONCE: Final = 12  # bytes, random: NIST SP 800-38D section 8.2.2 allows 2^32 of them for one key
_HEAD: Final = b"meshca-sealed-1\n"


class Seal:
    """Seals and opens.

    Args:
        file: holds 32 random bytes in base64.

    Raises:
        ConfigError: it cannot be read, others may read it, or it holds something else.
    """

    def __init__(self, file: Path) -> None:
        try:
            key = base64.b64decode(durable.read_private(file).strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY:
            raise ConfigError(str(file), ["expected 32 bytes in base64; make it by `openssl rand -base64 32`"])
        self._cipher = AESGCM(key)

    def close(self, name: str, contents: bytes) -> bytes:
        """The contents, sealed for a name."""
        nonce = os.urandom(_NONCE)
        return _HEAD + nonce + self._cipher.encrypt(nonce, contents, name.encode())

    def open(self, name: str, sealed: bytes, source: str) -> bytes:
        """The contents.

        Args:
            name: that they were sealed for.
            sealed: as `close` gave it.
            source: where it lies, for people.

        Raises:
            ConfigError: it is not sealed, or by another key, for another name, or was changed.
        """
        head, nonce, rest = sealed[: len(_HEAD)], sealed[len(_HEAD) :][:_NONCE], sealed[len(_HEAD) + _NONCE :]
        if head != _HEAD:
            raise ConfigError(source, ["is not sealed, and upstream.custody_seal_file wants it to be; remove it"])
        try:
            return self._cipher.decrypt(nonce, rest, name.encode())
        except (InvalidTag, ValueError):
            problem = (
                "does not open with the key in upstream.custody_seal_file; put its own key there, or remove it"
            )
            raise ConfigError(source, [problem]) from None
