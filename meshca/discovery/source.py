"""Where the resources of a stream come from.

A mapping, once given out, never changes: a new state is a new mapping, so that sessions share it and no
lock is needed. Everything here runs on one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from meshca.discovery.event import Resource

Wake = Callable[[], None]
NOTHING: Mapping[str, Resource] = MappingProxyType({})


class Source(Protocol):
    """What one subscriber should hold now, and word when that changes."""

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """All resources of a type by name; the mapping is not changed afterwards."""
        ...

    def watch(self, wake: Wake) -> Wake:
        """Call `wake` after every change, from the event loop. What is returned ends that."""
        ...

    async def ready(self, type_url: str, names: Collection[str]) -> None:
        """Awaited when names are newly subscribed to, before they are looked up.

        A source that makes resources on demand makes them here; an error ends the stream.
        """
        ...


class Shelf:
    """A `Source` that is filled from outside and wakes its watchers once per change."""

    def __init__(self) -> None:
        self._by_type: dict[str, Mapping[str, Resource]] = {}
        self._watchers: dict[object, Wake] = {}

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """What was last put there."""
        return self._by_type.get(type_url, NOTHING)

    def put(self, type_url: str, resources: Iterable[Resource]) -> None:
        """Add these, or replace those of the same name; nobody is woken when nothing differs."""
        new = {resource.name: resource for resource in resources}
        self.replace(type_url, ({**self.resources(type_url), **new}).values())

    def replace(self, type_url: str, resources: Iterable[Resource]) -> None:
        """Make these the only resources of the type."""
        new = MappingProxyType({resource.name: resource for resource in resources})
        if new == self.resources(type_url):
            return
        self._by_type[type_url] = new
        self.wake()

    def watch(self, wake: Wake) -> Wake:
        """As `Source.watch`."""
        key = object()
        self._watchers[key] = wake
        return lambda: self._drop(key)

    async def ready(self, type_url: str, names: Collection[str]) -> None:
        """Everything that will be here is put here by others."""

    def wake(self) -> None:
        """Tell every watcher."""
        for watcher in tuple(self._watchers.values()):
            watcher()

    def _drop(self, key: object) -> None:
        self._watchers.pop(key, None)
