"""An API server in memory: objects by path, lists, field selectors of nodes, watches; no kubelet, no RBAC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from meshca.errors import MeshcaError, NotFound
from meshca.kube.api import Api, Tree


class FakeApi(Api):
    """Implements what readers ask of `meshca.kube.api.Api`.

    Attributes:
        asked: paths that were read, without watches.
        down: what every call raises meanwhile.
        held: while set, reads wait.
    """

    def __init__(self, name: str = "home") -> None:
        self.name = name
        self.asked: list[str] = []
        self.down: MeshcaError | None = None
        self.held: asyncio.Event | None = None
        self._objects: dict[str, Tree] = {}
        self._version = 0
        self._watches: dict[asyncio.Queue[Tree | MeshcaError], str] = {}

    def put(self, collection: str, item: Mapping[str, Any], *, tell: bool = True) -> None:
        """Make or change an object; whoever watches is told, if wished."""
        self._version += 1
        metadata = {"resourceVersion": str(self._version), **item["metadata"]}
        path = f"{collection}/{metadata['name']}"
        kind = "MODIFIED" if path in self._objects else "ADDED"
        self._objects[path] = {**item, "metadata": metadata}
        if tell:
            self._tell(kind, path, self._objects[path])

    def drop(self, path: str, *, tell: bool = True) -> None:
        """Remove an object."""
        self._version += 1
        item = self._objects.pop(path)
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        if tell:
            self._tell("DELETED", path, item)

    def break_watches(self, error: MeshcaError) -> None:
        """End every watch with this error."""
        for queue in self._watches:
            queue.put_nowait(error)

    async def get(self, path: str, query: Mapping[str, str] | None = None, **_: Any) -> Tree:
        """An object, or a list."""
        self.asked.append(path)
        if self.held is not None:
            await self.held.wait()
        if self.down is not None:
            raise self.down
        if path in self._objects:
            return self._objects[path]
        if path.rpartition("/")[2] not in {"pods", "secrets"}:
            raise NotFound("kube_not_found", f"{self.name}: {path}: not found")
        node = (query or {}).get("fieldSelector", "").removeprefix("spec.nodeName=")
        items = [
            item
            for place, item in self._objects.items()
            if _is_in(path, place) and (not node or item["spec"].get("nodeName") == node)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    async def watch(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncIterator[Tree]:
        """Events from now on."""
        if self.down is not None:
            raise self.down
        queue: asyncio.Queue[Tree | MeshcaError] = asyncio.Queue()
        self._watches[queue] = path
        try:
            while True:
                event = await queue.get()
                if isinstance(event, MeshcaError):
                    raise event
                yield event
        finally:
            del self._watches[queue]

    def _tell(self, kind: str, path: str, item: Tree) -> None:
        for queue, watched in self._watches.items():
            if _is_in(watched, path):
                queue.put_nowait({"type": kind, "object": item})


def _is_in(collection: str, path: str) -> bool:
    """Whether a collection, of one namespace or of all, holds the object of this path."""
    prefix, _, plural = collection.rpartition("/")
    return path.startswith(f"{prefix}/") and path.rpartition("/")[0].endswith(f"/{plural}")


def pod_item(
    name: str,
    uid: str,
    *,
    namespace: str = "shop",
    account: str = "web",
    node: str = "node-1",
    phase: str = "Running",
    labels: Mapping[str, str] | None = None,
) -> Tree:
    """A pod as an API server writes it."""
    metadata: dict[str, Any] = {"namespace": namespace, "name": name, "uid": uid}
    spec: dict[str, Any] = {"nodeName": node} if node else {}
    return {
        "metadata": metadata | ({"labels": dict(labels)} if labels else {}),
        "spec": spec | ({"serviceAccountName": account} if account else {}),
        "status": {"phase": phase},
    }
