"""Secrets in a namespace of a real cluster, as its administrator writes them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping

from meshca.authority.secret_source import SecretSource
from meshca.clock import SystemClock
from meshca.errors import NotFound
from meshca.kube.api import Api
from meshca.kube.secrets import KubeSecrets
from tests.contract.secret_source import FIRST, SECOND


class SecretPlace:
    """Implements `tests.contract.secret_source.Place`; use `secret_place`."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.namespace = namespace
        self.following: list[asyncio.Task[None]] = []
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/secrets"

    def source(self) -> KubeSecrets:
        """Of one replica, followed at once."""
        source = KubeSecrets(self._api, self.namespace, (FIRST, SECOND), SystemClock())
        self.following.append(asyncio.create_task(source.run()))
        return source

    async def get(self, name: str) -> Mapping[str, bytes]:
        """What a Secret holds."""
        data = (await self._api.get(f"{self._path}/{name}")).get("data") or {}
        return {key: base64.b64decode(text) for key, text in data.items()}

    async def put(self, name: str, contents: Mapping[str, bytes], kind: str = "Opaque") -> None:
        """Write, whatever is there; the contents of one that exists are replaced, its type stays."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": kind,
            "data": {key: base64.b64encode(value).decode() for key, value in contents.items()},
        }
        try:
            there = await self._api.get(f"{self._path}/{name}")
        except NotFound:
            await self._api.create(self._path, body)
        else:
            await self._api.replace(f"{self._path}/{name}", {**body, "type": there["type"]})

    async def label(self, name: str) -> None:
        """Add a label."""
        await self._api.merge(f"{self._path}/{name}", {"metadata": {"labels": {"a": "b"}}})

    async def remove(self, name: str) -> None:
        """Delete."""
        await self._api.delete(f"{self._path}/{name}")

    async def told(self, source: SecretSource) -> bool:
        """Whether a change is told within a moment."""
        try:
            await asyncio.wait_for(source.changed(), 0.3)
        except TimeoutError:
            return False
        return True


@contextlib.asynccontextmanager
async def secret_place(api: Api, namespace: str) -> AsyncIterator[SecretPlace]:
    """A place whose sources are followed until the end of the block."""
    place = SecretPlace(api, namespace)
    try:
        yield place
    finally:
        for task in place.following:
            task.cancel()
        await asyncio.gather(*place.following, return_exceptions=True)
