"""The port of what keeps intermediates with their keys, and which roots it knows.

The roots that counted last are what `accept: first_use` rests on: a list that is lost must never be taken for one
that was never made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cryptography import x509

from meshca.authority.keys import KeyStore, key_id
from meshca.authority.material import SigningMaterial, certificate_id
from meshca.config.vault import VaultRoots
from meshca.errors import ConfigError
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.kept_memory import KeptMemory
from meshca.upstream.sound_root import root_of
from meshca.upstream.vault.signing import Keys, discard


class Custody(Protocol):
    """Keeps signing material: `upstream.kept_secret`, or `AtOnce` over a folder or memory."""

    async def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """What is kept, by the root's id."""
        ...

    async def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """The roots that were named last."""
        ...

    async def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names."""
        ...

    async def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now."""
        ...

    async def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Drop what is kept below every other root."""
        ...


class AtOnce:
    """What keeps without waiting for anybody, as custody.

    Args:
        kept: a folder, or memory.
    """

    def __init__(self, kept: KeptFolder | KeptMemory) -> None:
        self._kept = kept

    async def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """As it does."""
        return self._kept.load(problems)

    async def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """As it does."""
        return self._kept.named(problems)

    async def keep(self, material: SigningMaterial) -> None:
        """As it does."""
        self._kept.keep(material)

    async def name(self, roots: Sequence[x509.Certificate]) -> None:
        """As it does."""
        self._kept.name(roots)

    async def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """As it does."""
        return self._kept.forget(keep)


class TokenKeys(Keys, KeyStore, Protocol):
    """Keys in a token: made for a request, kept with its certificate."""


class InToken:
    """Certificates in a folder, their keys in a token: a key goes with its certificate.

    The one before the newest stays, since it signs until the newest is in force. Only the first look destroys
    what no certificate is kept for: later such a key may be one that is being prepared.

    Args:
        folder: of the certificates.
        keys: of the token, all of them ours.
    """

    def __init__(self, folder: Custody, keys: TokenKeys) -> None:
        self._folder = folder
        self._keys = keys
        self._looked = False
        self._replaced: dict[str, SigningMaterial] = {}  # the one before the newest, by the root's id

    async def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """As the folder; at the first time, keys of preparations that were cut off are destroyed.

        Raises:
            Unavailable: the token cannot be reached.
        """
        found: list[str] = []
        kept = await self._folder.load(found)
        problems += found
        if not self._looked and not found:  # what cannot be read may have a key
            self._keys.keep_only(frozenset(key_id(one.certificate.public_key()) for one in kept.values()))
        self._looked = True
        return kept

    async def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """As the folder."""
        return await self._folder.named(problems)

    async def keep(self, material: SigningMaterial) -> None:
        """As the folder."""
        root = certificate_id(root_of(material))
        replaced = (await self._folder.load([])).get(root)
        await self._folder.keep(material)
        if replaced is None or replaced.fingerprint == material.fingerprint:
            return
        if root in self._replaced:
            discard(self._keys, self._replaced[root].key)
        self._replaced[root] = replaced

    async def name(self, roots: Sequence[x509.Certificate]) -> None:
        """As the folder."""
        await self._folder.name(roots)

    async def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """As the folder, keys included."""
        gone = [*(await self._folder.load([])).items(), *self._replaced.items()]
        forgotten = await self._folder.forget(keep)
        for root, material in gone:
            if root not in keep:
                discard(self._keys, material.key)
                self._replaced.pop(root, None)
        return forgotten


async def known_roots(custody: Custody, config: VaultRoots) -> Sequence[x509.Certificate]:
    """The roots that counted last; where their list is lost, those of what is kept.

    Raises:
        ConfigError: they are lost, and whichever root is seen now would be taken for the first.
        Unavailable: the custody cannot be reached.
    """
    problems: list[str] = []
    if named := await custody.named(problems):
        return named
    kept = (await custody.load(problems)).values()
    if problems and not kept and config.accept == "first_use":
        raise ConfigError("upstream.custody", problems)
    return tuple(dict.fromkeys(root for material in kept for root in material.roots))
