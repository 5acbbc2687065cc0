"""One Secret of type kubernetes.io/tls that is ours to write: compare-and-swap, and never over somebody else's.

The key passes through here and is never kept. A Secret of that name that another made is left alone, unless its
owner has said in an annotation that we may have it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshca.errors import ConfigError, NotFound
from meshca.kube.api import Api, Tree
from meshca.kube.held import WRITTEN_BY
from meshca.secret import Secret

ADOPT: Final = "meshca.io/adopt"  # annotation: "true" hands a Secret of somebody else over to us
TYPE: Final = "kubernetes.io/tls"
LABELS: Final = {"app.kubernetes.io/managed-by": "meshca"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What such a Secret holds, as PEM; empty where a key is missing or damaged.

    Attributes:
        chain: leaf first.
        key: of the leaf.
        roots: as `ca.crt`.
    """

    chain: str
    key: Secret[str] = field(repr=False)
    roots: str


class TlsSecret:
    """The Secret.

    Args:
        api: of the cluster.
        namespace: of the Secret.
        name: of the Secret.
        installation: our name; what carries it was made by us.
        fence: raises unless we may write.
    """

    def __init__(self, api: Api, namespace: str, name: str, installation: str, fence: Callable[[], None]) -> None:
        self.name = f"{namespace}/{name}"
        self._api = api
        self._namespace = namespace
        self._secret = name
        self._installation = installation
        self._fence = fence
        self._found: Tree | None = None

    async def read(self) -> TlsMaterial | None:
        """What it holds now; None when it does not exist.

        Raises:
            ConfigError: it is somebody else's.
            Forbidden, Unavailable: it cannot be read.
        """
        try:
            found = await self._api.get(f"{self._collection}/{self._secret}")
        except NotFound:
            self._found = None
            return None
        self._check_ours(found)
        self._found = {name: value for name, value in found.items() if name != "data"}
        data = found.get("data") or {}
        return TlsMaterial(
            chain=_decoded(data, "tls.crt"), key=Secret(_decoded(data, "tls.key")), roots=_decoded(data, "ca.crt")
        )

    async def write(self, material: TlsMaterial) -> None:
        """Put this in, if the Secret is still as it was last read.

        Raises:
            Conflict: it is not; read it again.
            NotLeading: we may not write.
            Forbidden, Rejected, Unavailable: it cannot be written.
        """
        data = {
            "tls.crt": _encoded(material.chain),
            "tls.key": _encoded(material.key.reveal()),
            "ca.crt": _encoded(material.roots),
        }
        before: Mapping[str, Any] = (self._found or {}).get("metadata") or {}
        metadata = {
            **before,
            "name": self._secret,
            "labels": {**(before.get("labels") or {}), **LABELS},
            "annotations": {**(before.get("annotations") or {}), WRITTEN_BY: self._installation},
        }
        body = {"apiVersion": "v1", "kind": "Secret", "type": TYPE, "metadata": metadata, "data": data}
        self._fence()
        if self._found is None:
            await self._api.create(self._collection, body)
        else:
            await self._api.replace(f"{self._collection}/{self._secret}", body)

    @property
    def _collection(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets"

    def _check_ours(self, found: Tree) -> None:
        annotations = found["metadata"].get("annotations") or {}
        writer = annotations.get(WRITTEN_BY)
        if writer != self._installation and annotations.get(ADOPT) != "true":
            by = f"another meshca ({writer})" if writer else "somebody else"
            problem = (
                f"was made by {by} and is left alone; delete it, or hand it over with the annotation {ADOPT}=true"
            )
            raise ConfigError(f"Secret {self.name}", [problem])
        if found.get("type") != TYPE:
            problem = f"has the type {found.get('type')}, which cannot be changed; delete it"
            raise ConfigError(f"Secret {self.name}", [problem])


def _decoded(data: Mapping[str, str], key: str) -> str:
    try:
        return base64.b64decode(data.get(key, ""), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
