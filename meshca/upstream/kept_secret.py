"""Signing material kept in a Kubernetes Secret of one replica: what a pod without a disk finds after a restart.

As `upstream.kept_folder`, key by key of the Secret, sealed if so configured. Nobody else writes it; who does all
the same is noticed by its version, and what was written is read again. A Secret that cannot be reached stops
nothing that signs already: it is read once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cryptography import x509

from meshca.authority.material import SigningMaterial, certificate_id, read_certificates, to_pem
from meshca.authority.secret_source import Overtaken, SecretSource, StoredSecret
from meshca.errors import ConfigError, Unavailable
from meshca.upstream.kept_text import from_text, name_of, to_text
from meshca.upstream.seal import Seal
from meshca.upstream.sound_root import root_of

_NAMED: Final = "named.pem"
_KEPT: Final = re.compile(r"[0-9a-f]{16}\.json")
_TRIES: Final = 5  # of what is written; each is lost to another writer only


class KeptSecret:
    """Reads, keeps and forgets.

    Args:
        source: reaches one Secret.
        seal: of its contents; None to leave them as they are.
    """

    def __init__(self, source: SecretSource, seal: Seal | None) -> None:
        self._source = source
        self._seal = seal
        self._read: StoredSecret | None = None

    async def load(self, problems: list[str]) -> Mapping[str, SigningMaterial]:
        """What is kept, by the root's id.

        Args:
            problems: gets one line for each key that cannot be used.

        Raises:
            Unavailable: it was never read, and cannot be read now.
        """
        found = {}
        for name, contents in (await self._held()).contents.items():
            if not _KEPT.fullmatch(name):
                continue
            try:
                material = from_text(self._opened(name, contents), name, self._place(name))
            except ConfigError as error:
                problems += [f"{error.source}: {problem}" for problem in error.problems]
                continue
            found[certificate_id(root_of(material))] = material
        return found

    async def named(self, problems: list[str]) -> Sequence[x509.Certificate]:
        """The roots that were named last; none before the first.

        Args:
            problems: gets one line if they cannot be read.

        Raises:
            Unavailable: as `load`.
        """
        contents = (await self._held()).contents.get(_NAMED)
        if contents is None:
            return ()
        try:
            return read_certificates(self._opened(_NAMED, contents), self._place(_NAMED))
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
            return ()

    async def keep(self, material: SigningMaterial) -> None:
        """Keep sound material and the roots it names; durable when this returns.

        Raises:
            ConfigError: it will never be accepted.
            Unavailable: it cannot be written now; what was kept before still is.
        """
        await self._write({name_of(material): to_text(material).encode(), _NAMED: _roots(material.roots)})

    async def name(self, roots: Sequence[x509.Certificate]) -> None:
        """Keep the roots that are named now.

        Raises:
            ConfigError, Unavailable: as `keep`.
        """
        await self._write({_NAMED: _roots(roots)})

    async def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Remove what is kept below every other root; the first 16 digits of the ids of these are given.

        Raises:
            ConfigError, Unavailable: as `keep`.
        """
        names = {f"{id_[:16]}.json" for id_ in keep}
        others = [name for name in (await self._held()).contents if _KEPT.fullmatch(name) and name not in names]
        if others:
            await self._write(dict.fromkeys(others))
        return tuple(name.removesuffix(".json") for name in others)

    async def _write(self, changes: Mapping[str, bytes | None]) -> None:
        """Change some keys; None takes one away."""
        sealed = {name: self._sealed(name, contents) for name, contents in changes.items() if contents is not None}
        for _ in range(_TRIES):
            before = await self._held()
            left = {name: contents for name, contents in before.contents.items() if name not in changes}
            after = replace(before, contents={**left, **sealed})
            try:
                await (self._source.replace(after) if before.version else self._source.create(after))
            except Overtaken:
                self._read = None
                continue
            self._read = after  # with a version that is over: the next write is overtaken once, and reads
            return
        raise Unavailable("custody", f"{self._place()} is written by others all the time; name another")

    async def _held(self) -> StoredSecret:
        if self._read is None:
            found = await self._source.read()
            [name] = self._source.names
            self._read = next(iter(found), StoredSecret(name=name, kind="Opaque", contents={}))
        return self._read

    def _sealed(self, name: str, contents: bytes) -> bytes:
        return contents if self._seal is None else self._seal.close(name, contents)

    def _opened(self, name: str, contents: bytes) -> bytes:
        return contents if self._seal is None else self._seal.open(name, contents, self._place(name))

    def _place(self, name: str = "") -> str:
        [secret] = self._source.names
        return f"Secret {secret} in {self._source.place}" + (f", key {name}" if name else "")


def _roots(roots: Sequence[x509.Certificate]) -> bytes:
    return to_pem(*roots).encode()
