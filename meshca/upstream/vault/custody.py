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


class Custody(Protocol):
    """Keeps signing material: `upstream.kept_folder` or `upstream.kept_memory`."""

    def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """What is kept, by the root's id."""
        ...

    def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """The roots that were named last."""
        ...

    def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names."""
        ...

    def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now."""
        ...

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Drop what is kept below every other root."""
        ...


def known_roots(custody: Custody, config: VaultRoots) -> Sequence[x509.Certificate]:
    """The roots that counted last; where their list is lost, those of what is kept.

    Raises:
        ConfigError: they are lost, and whichever root is seen now would be taken for the first.
    """
    problems: list[str] = []
    if named := custody.named(problems):
        return named
    kept = custody.load(problems).values()
    if problems and not kept and config.accept == "first_use":
        raise ConfigError("upstream.custody", problems)
    return tuple(dict.fromkeys(root for material in kept for root in material.roots))
