"""A cluster's objects in memory, with the few manners of an API server that writers of ours depend on.

Resource versions, compare-and-swap, server-side apply with its owners and conflicts, namespaces that are missing
or being deleted, watches. `tests/contract/kube_objects.py` holds it to what a real API server does.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.api import Api, Conflict, Terminating, Tree

Leaf = tuple[str, ...]
DOWN = Unavailable("kube_unreachable", "home: the API server cannot be reached")
_NAMES = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


class FakeKube:
    """Implements what is used of `kube.api.Api`.

    Attributes:
        writes: verb and path of every write that was tried.
        down: whether it does not answer.
        refusing: path -> what a call on it raises.
        webhook: changes what is applied, if set.
    """

    name = "home"

    def __init__(self) -> None:
        self.writes: list[tuple[str, str]] = []
        self.down = False
        self.refusing: dict[str, MeshcaError] = {}
        self.webhook: Callable[[dict[str, Any]], None] | None = None
        self._objects: dict[str, dict[str, Any]] = {}
        self._owners: dict[str, dict[Leaf, dict[str, None]]] = {}
        self._version = 100
        self._watchers: list[tuple[str, str, asyncio.Queue[Tree]]] = []

    @property
    def api(self) -> Api:
        """As its users see it."""
        return cast("Api", self)

    def namespace(self, name: str, *, terminating: bool = False) -> None:
        """A namespace comes, or goes on its way to deletion."""
        phase = "Terminating" if terminating else "Active"
        path = f"/api/v1/namespaces/{name}"
        self._put(path, {"metadata": {"name": name}, "status": {"phase": phase}}, "MODIFIED")

    def edit(self, path: str, manager: str, key: str, value: str) -> None:
        """Somebody changes a text with an ordinary write, and owns it from then on."""
        tree = copy.deepcopy(self._objects[path])
        tree.setdefault("data", {})[key] = value
        self._owners[path][("data", key)] = {manager: None}
        self._put(path, tree, "MODIFIED")

    def text(self, path: str, key: str = "root-cert.pem") -> str | None:
        """What an object holds; None when it does not exist."""
        found = self._objects.get(path)
        return found["data"].get(key) if found else None

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "") -> Tree:
        """An object, or the list of a collection."""
        self._check(path)
        if path in self._objects:
            return self._shown(path)
        if _is_object(path):
            raise NotFound("kube_not_found", f"home: get {path}: not found")
        selector = (query or {}).get("fieldSelector", "")
        items = [self._shown(one) for one in self._objects if _in_collection(one, path, selector)]
        return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    async def create(self, path: str, body: Tree) -> Tree:
        """A new object."""
        whole = f"{path}/{body['metadata']['name']}"
        self._check(whole, write="create")
        self._check_namespace(whole)
        if whole in self._objects:
            raise Conflict("kube_conflict", f"home: create {path}: AlreadyExists")
        self._owners[whole] = {leaf: {"creator": None} for leaf, _ in _leaves(body)}
        return self._put(whole, copy.deepcopy(dict(body)), "ADDED")

    async def replace(self, path: str, body: Tree) -> Tree:
        """The object as it shall be."""
        self._check(path, write="update")
        before = self._objects.get(path)
        if before is None:
            raise NotFound("kube_not_found", f"home: update {path}: not found")
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != before["metadata"]["resourceVersion"]:
            raise Conflict("kube_conflict", f"home: update {path}: Conflict")
        return self._put(path, copy.deepcopy(dict(body)), "MODIFIED")

    async def apply(self, path: str, body: Tree, *, manager: str, force: bool = False) -> Tree:
        """Server-side apply; fields that the manager gives up stay, as they do when another owns them."""
        self._check(path, write="apply")
        self._check_namespace(path)
        before = self._objects.get(path)
        tree: dict[str, Any] = copy.deepcopy(before) if before else {"metadata": {}}
        owners = self._owners.setdefault(path, {})
        wanted = dict(_leaves(body))
        if not force and before is not None:
            for leaf, value in wanted.items():
                others = owners.get(leaf, {}).keys() - {manager}
                if leaf not in _NAMES and others and _at(tree, leaf) != value:
                    raise Conflict("kube_conflict", f"home: patch {path}: Conflict")
        for leaf, value in wanted.items():
            if leaf not in _NAMES:
                same = _at(tree, leaf) == value
                owners[leaf] = {**(owners.get(leaf, {}) if same else {}), manager: None}
            _set(tree, leaf, value)
        if self.webhook is not None:
            self.webhook(tree)
        return self._put(path, tree, "MODIFIED" if before else "ADDED")

    async def delete(self, path: str) -> None:
        """Remove an object."""
        self._check(path, write="delete")
        if path not in self._objects:
            raise NotFound("kube_not_found", f"home: delete {path}: not found")
        self._version += 1
        gone = self._shown(path)
        gone["metadata"]["resourceVersion"] = str(self._version)
        del self._objects[path], self._owners[path]
        self._tell(path, "DELETED", gone)

    async def watch(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncIterator[Tree]:
        """What happens to a collection from now on."""
        self._check(path)
        queue: asyncio.Queue[Tree] = asyncio.Queue()
        self._watchers.append((path, query.get("fieldSelector", ""), queue))
        while True:
            yield await queue.get()

    def _check(self, path: str, write: str = "") -> None:
        if write:
            self.writes.append((write, path))
        if self.down:
            raise DOWN
        if path in self.refusing:
            raise self.refusing[path]

    def _check_namespace(self, path: str) -> None:
        parts = path.split("/")
        if len(parts) > 6 and parts[3] == "namespaces":
            namespace = self._objects.get("/".join(parts[:5]))
            if namespace is None:
                raise NotFound("kube_not_found", f"home: patch {path}: not found")
            if namespace["status"]["phase"] == "Terminating" and path not in self._objects:
                raise Terminating("kube_terminating", f"home: patch {path}: the namespace is being deleted")

    def _put(self, path: str, tree: dict[str, Any], kind: str) -> Tree:
        before = self._objects.get(path)
        old = before["metadata"]["resourceVersion"] if before else ""
        tree["metadata"]["resourceVersion"] = old
        if tree != before:
            self._version += 1
            tree["metadata"]["resourceVersion"] = str(self._version)
            self._objects[path] = tree
            self._owners.setdefault(path, {})
            self._tell(path, kind, self._shown(path))
        return self._shown(path)

    def _tell(self, path: str, kind: str, item: dict[str, Any]) -> None:
        for collection, selector, queue in self._watchers:
            if _in_collection(path, collection, selector):
                queue.put_nowait({"type": kind, "object": item})

    def _shown(self, path: str) -> dict[str, Any]:
        tree = copy.deepcopy(self._objects[path])
        if path.startswith("/api/v1/namespaces/") and len(path.split("/")) > 5:
            tree["metadata"]["namespace"] = path.split("/")[4]
        managers: dict[str, dict[str, Any]] = {}
        for leaf, owners in self._owners.get(path, {}).items():
            for manager in owners:
                fields = managers.setdefault(manager, {})
                for name in leaf:
                    fields = fields.setdefault(f"f:{name}", {})
        tree["metadata"]["managedFields"] = [
            {"manager": manager, "fieldsV1": fields} for manager, fields in managers.items()
        ]
        return tree


def _is_object(path: str) -> bool:
    """Whether the last part is a name: after a namespace's collection, or after a collection of the cluster."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    return len(rest) in {2, 4}


def _in_collection(path: str, collection: str, selector: str) -> bool:
    name = path.rpartition("/")[2]
    if selector and selector != f"metadata.name={name}":
        return False
    if path == f"{collection}/{name}":
        return True
    parts = path.split("/")
    everywhere = "/".join((*parts[:3], *parts[5:-1]))  # without the namespace
    return len(parts) > 6 and collection == everywhere


def _leaves(tree: Mapping[str, Any], path: Leaf = ()) -> list[tuple[Leaf, Any]]:
    found: list[tuple[Leaf, Any]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found += _leaves(value, (*path, name))
        else:
            found.append(((*path, name), value))
    return found


def _at(tree: Mapping[str, Any], leaf: Leaf) -> object:
    found: Any = tree
    for name in leaf:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found


def _set(tree: dict[str, Any], leaf: Leaf, value: object) -> None:
    for name in leaf[:-1]:
        tree = tree.setdefault(name, {})
    tree[leaf[-1]] = value
