"""What writers of ours depend on in an API server; run over the fake and over a real one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pytest

from meshca.errors import NotFound
from meshca.kube.api import Api, Conflict, Tree
from meshca.kube.held import Held, read_held

KEY = "root-cert.pem"


def config_map(text: str | None, name: str = "roots") -> dict[str, Any]:
    """A ConfigMap with a text and a label."""
    data = {} if text is None else {KEY: text}
    metadata = {"name": name, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def held(item: Tree) -> Held:
    """What one of those holds."""
    return read_held(item, ("data", KEY), {"a": "b"})


class ApiServerContract(ABC):
    """An API server with one namespace for the test."""

    @pytest.fixture
    @abstractmethod
    async def place(self) -> tuple[Api, str]:
        """The API, and the collection of ConfigMaps of the namespace."""

    async def test_applied(self, place: tuple[Api, str]) -> None:
        """Apply makes an object, and changes nothing when nothing is to change."""
        api, maps = place
        made = held(await api.apply(f"{maps}/roots", config_map("x"), manager="meshca"))
        again = held(await api.apply(f"{maps}/roots", config_map("x"), manager="meshca"))
        assert made == again
        assert (made.good, made.owner) == (True, "")

    async def test_versions_grow(self, place: tuple[Api, str]) -> None:
        """A later state has a greater version."""
        api, maps = place
        first = held(await api.apply(f"{maps}/roots", config_map("x"), manager="meshca"))
        second = held(await api.apply(f"{maps}/roots", config_map("y"), manager="meshca"))
        assert second.follows(first.version)
        assert not first.follows(second.version)

    async def test_conflict(self, place: tuple[Api, str]) -> None:
        """Another manager's field is refused with its owner told, and taken by force."""
        api, maps = place
        await api.apply(f"{maps}/roots", config_map("theirs"), manager="them")
        with pytest.raises(Conflict):
            await api.apply(f"{maps}/roots", config_map("ours"), manager="meshca")
        assert held(await api.get(f"{maps}/roots")).owner == "them"
        taken = held(await api.apply(f"{maps}/roots", config_map("ours"), manager="meshca", force=True))
        assert taken.owner == ""

    async def test_the_same_text_of_two_managers(self, place: tuple[Api, str]) -> None:
        """Two may own a field as long as they agree; that is no conflict."""
        api, maps = place
        await api.apply(f"{maps}/roots", config_map("x"), manager="them")
        shared = held(await api.apply(f"{maps}/roots", config_map("x"), manager="meshca"))
        assert shared.owner == "them"

    async def test_compare_and_swap(self, place: tuple[Api, str]) -> None:
        """What was read before another wrote cannot be replaced; what exists cannot be made."""
        api, maps = place
        made = await api.create(maps, config_map("x"))
        await api.replace(f"{maps}/roots", {**made, "data": {KEY: "y"}})
        with pytest.raises(Conflict):
            await api.replace(f"{maps}/roots", {**made, "data": {KEY: "z"}})
        with pytest.raises(Conflict):
            await api.create(maps, config_map("x"))

    async def test_missing(self, place: tuple[Api, str]) -> None:
        """What does not exist is not found, and nothing can be applied in a namespace that does not exist."""
        api, maps = place
        with pytest.raises(NotFound):
            await api.get(f"{maps}/roots")
        with pytest.raises(NotFound):
            await api.apply("/api/v1/namespaces/not-there/configmaps/roots", config_map("x"), manager="meshca")

    async def test_watched(self, place: tuple[Api, str]) -> None:
        """A watch of one name tells each change of it, and of nothing else, with its version."""
        api, maps = place
        listed = await api.get(maps, {"fieldSelector": "metadata.name=roots"})
        version = listed["metadata"]["resourceVersion"]
        events: list[Mapping[str, Any]] = []
        watch = api.watch(maps, {"fieldSelector": "metadata.name=roots", "resourceVersion": version}, seconds=5)
        told = watch.__aiter__()
        first = asyncio.ensure_future(told.__anext__())
        await asyncio.sleep(0)
        await api.apply(f"{maps}/other", config_map("x", "other"), manager="meshca")
        await api.apply(f"{maps}/roots", config_map("x"), manager="meshca")
        await api.delete(f"{maps}/roots")
        events = [await first, await told.__anext__()]
        await watch.aclose()  # type: ignore[attr-defined] # a generator
        assert [(one["type"], one["object"]["metadata"]["name"]) for one in events] == [
            ("ADDED", "roots"),
            ("DELETED", "roots"),
        ]
