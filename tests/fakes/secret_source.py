"""Secrets that live in a test: one store, and a source over it for each replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from meshca.authority.secret_source import Overtaken, StoredSecret
from meshca.errors import MeshcaError

NAMES = ("cacerts", "istio-ca-secret")


class FakeSecrets:
    """The store: what a cluster would keep.

    Attributes:
        held: by name.
        reads: how often all were read.
    """

    def __init__(self) -> None:
        self.held: dict[str, StoredSecret] = {}
        self.reads = 0
        self.sources: list[FakeSource] = []
        self._version = 0

    def put(self, name: str, contents: Mapping[str, str], kind: str = "Opaque") -> None:
        """As an operator would, over whatever is there."""
        self.keep(StoredSecret(name=name, kind=kind, contents={k: v.encode() for k, v in contents.items()}))

    def remove(self, name: str) -> None:
        """As an operator would."""
        del self.held[name]
        self._tell(name)

    def keep(self, secret: StoredSecret) -> None:
        """Write, and tell everyone if it is something else."""
        self._version += 1
        before = self.held.get(secret.name)
        self.held[secret.name] = replace(secret, version=str(self._version))
        if before is None or (before.kind, before.contents) != (secret.kind, secret.contents):
            self._tell(secret.name)

    def _tell(self, name: str) -> None:
        for source in self.sources:
            if name in source.names:
                source.told.set()


class FakeSource:
    """Implements `authority.secret_source.SecretSource`.

    Attributes:
        errors: raised instead of reading, creating or replacing, by the name of the method.
        before_writing: waited for before a write, so that others can be first.
        writes_left: how often it can write before its replica is killed; None for ever.
    """

    def __init__(self, store: FakeSecrets, names: tuple[str, ...] = NAMES) -> None:
        self.place = "namespace istio-system"
        self.names = names
        self.errors: dict[str, MeshcaError] = {}
        self.before_writing = asyncio.Event()
        self.before_writing.set()
        self.writes_left: int | None = None
        self.told = asyncio.Event()
        self._store = store
        store.sources.append(self)

    async def read(self) -> Sequence[StoredSecret]:
        """Those that exist."""
        self.told.clear()
        self._fail("read")
        self._store.reads += 1
        await asyncio.sleep(0)
        return [self._store.held[name] for name in self.names if name in self._store.held]

    async def create(self, secret: StoredSecret) -> None:
        """Unless there is one."""
        self._fail("create")
        self._die()
        await self.before_writing.wait()
        if secret.name in self._store.held:
            raise Overtaken("test", "it exists")
        self._store.keep(secret)

    async def replace(self, secret: StoredSecret) -> None:
        """Unless it is another by now."""
        self._fail("replace")
        self._die()
        await self.before_writing.wait()
        there = self._store.held.get(secret.name)
        if there is None or there.version != secret.version:
            raise Overtaken("test", "it is another by now")
        self._store.keep(secret)

    async def changed(self) -> None:
        """Once something was put or removed."""
        await self.told.wait()

    def _fail(self, method: str) -> None:
        if method in self.errors:
            raise self.errors[method]

    def _die(self) -> None:
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise asyncio.CancelledError
