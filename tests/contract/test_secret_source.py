"""The fake keeps the contract of a `SecretSource`; tests/e2e/kube/test_secrets.py runs it over the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from meshca.authority.secret_source import SecretSource, StoredSecret
from tests.contract.secret_source import SecretSourceContract
from tests.fakes.secret_source import FakeSecrets, FakeSource


class FakePlace:
    """Implements `tests.contract.secret_source.Place`."""

    def __init__(self) -> None:
        self._store = FakeSecrets()

    def source(self) -> FakeSource:
        """Of one replica."""
        return FakeSource(self._store)

    async def put(self, name: str, contents: Mapping[str, bytes], kind: str = "Opaque") -> None:
        """Write."""
        self._store.keep(StoredSecret(name=name, kind=kind, contents=contents))

    async def label(self, name: str) -> None:
        """Only the version changes."""
        self._store.keep(replace(self._store.held[name]))

    async def remove(self, name: str) -> None:
        """Delete."""
        self._store.remove(name)

    async def told(self, source: SecretSource) -> bool:
        """The fake tells at once."""
        assert isinstance(source, FakeSource)
        return source.told.is_set()


class TestFake(SecretSourceContract):
    """Over the fake."""

    @pytest.fixture
    def place(self) -> FakePlace:
        """An empty store."""
        return FakePlace()
