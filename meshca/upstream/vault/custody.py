"""The port of what keeps intermediates with their keys, and which roots it knows.

The roots that counted last are what `accept: first_use` rests on: a list that is lost must never be taken for one
that was never made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cryptography import x509

from meshca.authority.material import SigningMaterial
from meshca.config.vault import VaultRoots
from meshca.errors import ConfigError
from meshca.upstream.kept_folder import KeptFolder
from meshca.upstream.kept_memory import KeptMemory


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
