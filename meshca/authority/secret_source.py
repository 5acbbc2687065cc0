"""The port of a place that keeps CA material for several replicas: a few named Secrets of one namespace.

Whoever writes says which state it has seen, so that of several writers at once one wins and the others read what
the winner wrote. Contents must never reach an error text, a log or a repr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshca.errors import MeshcaError


class Overtaken(MeshcaError):
    """Another writer was first; read again and decide anew."""

    code = 10
    public = "another writer was first"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """One Secret.

    Attributes:
        name: of the Secret.
        kind: its type, such as `Opaque`; it never changes.
        contents: what it holds, by key; a private key is among them.
        version: of what was read; empty in one that shall be created.
    """

    name: str
    kind: str
    contents: Mapping[str, bytes] = field(repr=False)
    version: str = ""


class SecretSource(Protocol):
    """Reads and writes the Secrets it was made for, and no others.

    Attributes:
        place: where they are, for people: `namespace istio-system`.
        names: of the Secrets, in the order of their weight.
    """

    place: str
    names: tuple[str, ...]

    async def read(self) -> Sequence[StoredSecret]:
        """Those that exist, in the order of `names`; what changes from now on is told by `changed`.

        Raises:
            Unavailable: they cannot be read now, or we may not; then it names the permission.
        """
        ...

    async def create(self, secret: StoredSecret) -> None:
        """Make one that does not exist.

        Raises:
            Overtaken: it exists.
            ConfigError: it will never be accepted.
            Unavailable: as `read`.
        """
        ...

    async def replace(self, secret: StoredSecret) -> None:
        """Give one that was read other contents.

        Raises:
            Overtaken: it is not what was read any more, or gone.
            ConfigError: it will never be accepted.
            Unavailable: as `read`.
        """
        ...

    async def changed(self) -> None:
        """Return when the contents of one, or which of them exist, changed after the last `read` began."""
        ...
