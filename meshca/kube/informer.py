"""A small watch cache: what a collection holds, followed by list and watch.

The library has no asyncio informer. Each object is read into a small value of ours at once and the rest is
forgotten, so that ten thousand pods fit into a few megabytes. After any loss the watch goes on from the last
resource version, or, when that is too old, the list is read again and what is gone is told as deleted. A server
that answers nonsense, or ends every watch at once, costs a pause like one that is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from meshca.backoff import JITTER, Backoff
from meshca.clock import Clock
from meshca.errors import MeshcaError, Unavailable
from meshca.kube.answer import TooLarge
from meshca.kube.api import Api, Gone, Tree
from meshca.log import log

BACKOFF: Final = Backoff(floor=0.2, ceiling=30.0)
WATCH_SECONDS: Final = 300.0  # asked anew then; a dead connection is noticed at the latest after this
OFTEN: Final = 60.0  # seconds; collections that are read whole sooner again are read with pauses
BRIEF: Final = 1.0  # seconds; a watch that ends sooner, without an event, is no watch
PAGE: Final = 500  # objects of one answer to a list, as long as they fit into one
MOST: Final = 1_000_000  # objects; no cluster has so many of a kind that we follow
# What nonsense does to whoever reads it; nothing of it may get into a text, for it may be a Secret's.
_NONSENSE: Final = (ValueError, KeyError, TypeError, AttributeError)
T = TypeVar("T")
Changed = Callable[[str, T | None], None]


class Informer(Generic[T]):
    """Follows one collection; `run` must be running.

    Args:
        api: of the cluster.
        path: of the collection, such as /api/v1/pods.
        read: makes our value of an object; None leaves the object out.
        clock: for pauses after failures.
        selectors: labelSelector and fieldSelector.
        changed: called with the key (`namespace/name`, or `name`) and the new value; None when it is gone.
        seconds: of one watch; a connection that hangs is noticed after them.
        most: objects to keep; further ones are left out, which is logged once.
        rng: the source of jitter.
    """

    def __init__(  # noqa: PLR0913 - what it follows, and how
        self,
        api: Api,
        path: str,
        read: Callable[[Tree], T | None],
        clock: Clock,
        *,
        selectors: Mapping[str, str] | None = None,
        changed: Changed[T] = lambda _key, _value: None,
        seconds: float = WATCH_SECONDS,
        most: int = MOST,
        rng: random.Random = JITTER,
    ) -> None:
        self._api = api
        self._path = path
        self._read = read
        self._clock = clock
        self._selectors = dict(selectors or {})
        self._changed = changed
        self._seconds = seconds
        self._most = most
        self._rng = rng
        self._overfull = False
        self._page = PAGE
        self._read_at = -OFTEN
        self._reads = 0  # of the whole, in a row, each soon after the one before
        self._brief = 0  # rounds in a row that brought nothing and did not last
        self._items: dict[str, T] = {}
        self._version = ""
        self._synced = asyncio.Event()
        self._tried = asyncio.Event()
        self.failing = 0
        self.error: MeshcaError | None = None

    @property
    def items(self) -> Mapping[str, T]:
        """What the collection holds, by key; stale by the delay of a watch, or more while `failing`."""
        return self._items

    @property
    def is_synced(self) -> bool:
        """Whether the collection was read whole at least once."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once the collection was read whole."""
        await self._synced.wait()

    async def tried(self) -> None:
        """Return once the collection was read whole, or something has failed."""
        await self._tried.wait()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            begun, version = self._clock.monotonic(), self._version
            try:
                if not version:
                    await self._list()
                await self._watch()
            except Gone:
                self._version = ""
            except TooLarge as error:
                self._version = ""  # an event that is too large would come again; a page that holds it may fit
                await self._failed(error)
                continue
            except MeshcaError as error:
                await self._failed(error)
                continue
            except _NONSENSE as error:
                self._version = ""
                what = f"{self._api.name}: {self._path} was answered with nonsense ({type(error).__name__})"
                await self._failed(Unavailable("kube_answer", what))
                continue
            await self._paced(begun, version)

    async def _failed(self, error: MeshcaError) -> None:
        self.failing += 1
        if self.error is None or str(self.error) != str(error):  # once for each cause
            log.warning("kube.watch_failed", path=self._path, cluster=self._api.name, detail=str(error))
        self.error = error
        self._tried.set()
        await self._clock.sleep(BACKOFF.pause(self.failing, self._rng))

    async def _paced(self, begun: float, version: str) -> None:
        """Begin the next round: at once, unless rounds bring nothing and do not last."""
        lasted = self._clock.monotonic() - begun >= BRIEF
        self._brief = 0 if lasted or self._version not in {version, ""} else self._brief + 1
        if self._brief > 1:
            await self._clock.sleep(BACKOFF.pause(self._brief, self._rng))

    async def _list(self) -> None:
        if self._reads:  # it is dear, and a server that always gives cause for it must not keep us at it
            await self._clock.sleep(BACKOFF.pause(self._reads, self._rng))
        found: dict[str, T] = {}
        seen, more = 0, ""
        while True:
            taken, more, version = self._take(await self._get_page(more), found)  # no page outlives its reading
            seen += taken
            if not more:
                break
            if not taken:
                raise ValueError("a page without objects that is not the last")  # else it might never end
            if seen >= self._most:
                self._leave_out()
                break
        self._version = version
        now = self._clock.monotonic()
        self._reads = self._reads + 1 if now - self._read_at < OFTEN else 0
        self._read_at = now
        for key in self._items.keys() - found.keys():
            self._put(key, None)
        for key, value in found.items():
            self._put(key, value)
        self._well()
        self._synced.set()
        self._tried.set()

    async def _get_page(self, more: str) -> Tree:
        while True:
            query = {**self._selectors, "limit": str(self._page)}
            try:
                return await self._api.get(self._path, query | ({"continue": more} if more else {}))
            except TooLarge:
                if self._page == 1:
                    raise
                self._page = max(1, self._page // 4)  # large objects are no failure

    def _take(self, page: Tree, found: dict[str, T]) -> tuple[int, str, str]:
        """Put what we keep of a page into `found`; how many objects it has, its `continue` and its version."""
        items, metadata = page.get("items") or (), page["metadata"]
        for item in items:
            value = self._read(item)
            if value is not None:
                found[key_of(item)] = value
        return len(items), metadata.get("continue") or "", metadata["resourceVersion"]

    async def _watch(self) -> None:
        query = {**self._selectors, "resourceVersion": self._version}
        async for event in self._api.watch(self._path, query, seconds=self._seconds):
            self._hear(event)
            del event  # it may be large, and the next may be long in coming

    def _hear(self, event: Tree) -> None:
        item: Mapping[str, Any] = event["object"]
        if event["type"] != "BOOKMARK":
            self._put(key_of(item), None if event["type"] == "DELETED" else self._read(item))
        self._version = item["metadata"]["resourceVersion"]
        self._well()

    def _put(self, key: str, value: T | None) -> None:
        before = self._items.get(key)
        if before is None and len(self._items) >= self._most:
            self._leave_out()
            return
        if value is None:
            self._items.pop(key, None)
        else:
            self._items[key] = value
        if value != before:
            self._changed(key, value)

    def _leave_out(self) -> None:
        if not self._overfull:
            self._overfull = True
            log.warning("kube.too_many", path=self._path, cluster=self._api.name, kept=self._most)

    def _well(self) -> None:
        if self.failing:
            log.info("kube.watch_recovered", path=self._path, cluster=self._api.name)
        self.failing, self.error = 0, None


def key_of(item: Tree) -> str:
    """`namespace/name`, or `name` of an object that has no namespace."""
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])
