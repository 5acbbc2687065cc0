"""A few named Secrets of one namespace: read by GET, followed by one watch for each, written by compare-and-swap.

Nothing but these names is ever asked for, so that a Role with `resourceNames` is enough. The watches keep hashes
only: what a Secret holds is read when it is needed, and nowhere kept here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import random
from collections.abc import Sequence
from typing import Any

import orjson

from meshca.authority.secret_source import Overtaken, StoredSecret
from meshca.backoff import JITTER
from meshca.clock import Clock
from meshca.errors import ConfigError, NotFound, Unavailable
from meshca.kube.api import Api, Conflict, Forbidden, Rejected, Tree
from meshca.kube.informer import Informer


class KubeSecrets:
    """Implements `authority.secret_source.SecretSource`; `run` must be running for `changed` to return.

    Args:
        api: of the cluster.
        namespace: of the Secrets.
        names: of the Secrets.
        clock: for pauses after failures.
        rng: the source of their jitter.
    """

    def __init__(
        self, api: Api, namespace: str, names: tuple[str, ...], clock: Clock, rng: random.Random = JITTER
    ) -> None:
        self.place = f"namespace {namespace}"
        self.names = names
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self._changed = asyncio.Event()
        self._informers = [
            Informer(
                api,
                self._path,
                _fingerprint,
                clock,
                selectors={"fieldSelector": f"metadata.name={name}"},
                changed=lambda _key, _value: self._changed.set(),
                rng=rng,
            )
            for name in names
        ]

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers:
                tasks.create_task(informer.run())

    async def read(self) -> Sequence[StoredSecret]:
        """Those that exist.

        Raises:
            Unavailable: the API server does not answer, or we may not read one; then it names it.
        """
        self._changed.clear()
        return [found for name in self.names if (found := await self._get(name)) is not None]

    async def create(self, secret: StoredSecret) -> None:
        """Make one that does not exist.

        Raises:
            Overtaken, ConfigError, Unavailable: as the port says.
        """
        await self._write(secret, "POST")

    async def replace(self, secret: StoredSecret) -> None:
        """Give one that was read other contents.

        Raises:
            Overtaken, ConfigError, Unavailable: as the port says.
        """
        await self._write(secret, "PUT")

    async def changed(self) -> None:
        """Return when a watch has told of other contents since the last `read` began."""
        await self._changed.wait()

    async def _get(self, name: str) -> StoredSecret | None:
        try:
            return _read(await self._api.get(f"{self._path}/{name}"))
        except NotFound:
            return None
        except Forbidden as error:
            raise _named(error, name) from None

    async def _write(self, secret: StoredSecret, method: str) -> None:
        try:
            if method == "POST":
                await self._api.create(self._path, _tree(secret))
            else:
                await self._api.replace(f"{self._path}/{secret.name}", _tree(secret))
        except Conflict as error:
            raise Overtaken(error.reason, error.detail) from None
        except NotFound as error:
            if method == "PUT":
                raise Overtaken(error.reason, error.detail) from None
            raise Unavailable("kube_namespace", f"{self.place} does not exist; make it") from None
        except Rejected as error:
            raise ConfigError(f"Secret {secret.name} in {self.place}", [error.detail]) from None
        except Forbidden as error:
            raise _named(error, secret.name) from None


def _named(error: Forbidden, name: str) -> Unavailable:
    """A Role names Secrets one by one, so whoever mends it must know which."""
    return Unavailable(error.reason, f"{error.detail}; the Secret is {name}")


def _fingerprint(item: Tree) -> str:
    """Equal for equal contents, whatever else of the object changes."""
    said = orjson.dumps([item.get("type"), item.get("data")], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()


def _read(item: Tree) -> StoredSecret:
    metadata = item["metadata"]
    try:
        contents = {key: base64.b64decode(text, validate=True) for key, text in (item.get("data") or {}).items()}
    except binascii.Error:
        raise Unavailable("kube_answer", f"the Secret {metadata['name']} was answered damaged") from None
    return StoredSecret(
        name=metadata["name"],
        kind=item.get("type", "Opaque"),
        contents=contents,
        version=metadata["resourceVersion"],
    )


def _tree(secret: StoredSecret) -> Tree:
    metadata: dict[str, Any] = {"name": secret.name}
    if secret.version:
        metadata["resourceVersion"] = secret.version
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": secret.kind,
        "data": {key: base64.b64encode(value).decode() for key, value in secret.contents.items()},
    }
