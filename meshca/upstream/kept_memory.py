"""Signing material kept in memory only: whoever starts again makes other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cryptography import x509

from meshca.authority.material import SigningMaterial, certificate_id
from meshca.upstream.sound_root import root_of


class KeptMemory:
    """As `upstream.kept_folder.KeptFolder`, without a disk."""

    def __init__(self) -> None:
        self._kept: dict[str, SigningMaterial] = {}
        self._named: Sequence[x509.Certificate] = ()

    def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:  # noqa: ARG002 - a folder's
        """What is kept, by the root's id."""
        return dict(self._kept)

    def named(self, problems: list[str]) -> Sequence[x509.Certificate]:  # noqa: ARG002 - a folder's
        """The roots that were named last."""
        return self._named

    def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names."""
        self._kept[certificate_id(root_of(material))] = material
        self.name(material.roots)

    def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now."""
        self._named = tuple(roots)

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Drop what is kept below every other root; the first 16 digits of the ids of these are given."""
        others = [id_ for id_ in self._kept if id_ not in keep]
        for id_ in others:
            del self._kept[id_]
        return tuple(id_[:16] for id_ in others)
