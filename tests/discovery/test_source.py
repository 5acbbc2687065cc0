"""Shelves of resources."""

from __future__ import annotations

from meshca.discovery.event import Resource
from meshca.discovery.source import Shelf

TYPE = "type"


def res(name: str, version: str) -> Resource:
    """A resource whose body is its version."""
    return Resource(name=name, version=version, body=version.encode())


def versions(shelf: Shelf) -> dict[str, str]:
    """What is on the shelf."""
    return {name: resource.version for name, resource in shelf.resources(TYPE).items()}


def test_new_shelf_is_empty() -> None:
    """Nothing of any type."""
    assert dict(Shelf().resources(TYPE)) == {}


def test_put_adds_and_replaces_by_name() -> None:
    """Other names stay."""
    shelf = Shelf()
    shelf.put(TYPE, [res("a", "1"), res("b", "1")])
    shelf.put(TYPE, [res("a", "2")])
    assert versions(shelf) == {"a": "2", "b": "1"}


def test_replace_drops_the_others() -> None:
    """Only what is given remains."""
    shelf = Shelf()
    shelf.put(TYPE, [res("a", "1"), res("b", "1")])
    shelf.replace(TYPE, [res("b", "1")])
    assert versions(shelf) == {"b": "1"}


def test_given_mapping_does_not_change() -> None:
    """Sessions keep it without copying."""
    shelf = Shelf()
    shelf.put(TYPE, [res("a", "1")])
    before = shelf.resources(TYPE)
    shelf.put(TYPE, [res("a", "2")])
    assert before["a"].version == "1"


def test_watchers_are_woken_once_per_change() -> None:
    """And not at all when nothing differs."""
    shelf, woken = Shelf(), []
    shelf.watch(lambda: woken.append(1))
    shelf.put(TYPE, [res("a", "1")])
    shelf.put(TYPE, [res("a", "1")])
    assert woken == [1]


def test_watcher_that_left_is_not_woken() -> None:
    """Leaving twice is no error."""
    shelf, woken = Shelf(), []
    leave = shelf.watch(lambda: woken.append(1))
    leave()
    leave()
    shelf.put(TYPE, [res("a", "1")])
    assert woken == []


async def test_nothing_has_to_be_made_ready() -> None:
    """A shelf is filled by others."""
    shelf = Shelf()
    await shelf.ready(TYPE, ["a"])
    assert versions(shelf) == {}
