"""The roots in a ConfigMap of every selected namespace, where Istio's agents look for them.

Only the fields that are ours are applied: one key, one label, one annotation; what else somebody keeps in the
ConfigMap stays. With listed namespaces nothing is asked about the cluster as a whole: neither namespaces nor
ConfigMaps. Runs while this replica leads (`kube.lease`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Literal

from meshca.clock import Clock
from meshca.config.kubernetes import RootConfigMapConfig
from meshca.kube.api import Api, Tree
from meshca.kube.held import WRITTEN_BY, Held, read_held
from meshca.kube.informer import Informer
from meshca.kube.keeper import Keeper
from meshca.kube.kept import Kept
from meshca.svid.good_roots import other_roots

LABELS: Final = {"istio.io/config": "true"}  # as istiod sets it; its agents and tools look for it


class ConfigMapPlace:
    """Implements `kube.keeper.Place`; a key is a namespace."""

    kind = "config_map"

    def __init__(self, config: RootConfigMapConfig, installation: str) -> None:
        self._config = config
        self._installation = installation

    def path(self, key: str) -> str:
        """Of the ConfigMap of a namespace."""
        return f"/api/v1/namespaces/{key}/configmaps/{self._config.name}"

    def body(self, key: str, text: str) -> Tree:
        """What is ours in it."""
        metadata = {
            "name": self._config.name,
            "namespace": key,
            "labels": LABELS,
            "annotations": {WRITTEN_BY: self._installation},
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {self._config.key: text}}

    def read(self, item: Tree) -> Held:
        """What one holds."""
        return read_held(item, ("data", self._config.key), LABELS)

    def text(self, item: Tree) -> str:
        """The roots in one; empty when there are none."""
        return str((item.get("data") or {}).get(self._config.key) or "")


class RootConfigMaps:
    """Keeps them all, while `run` is running.

    Args:
        api: of the cluster.
        config: which ConfigMap, which namespaces.
        fence: raises unless we may write.
        installation: our name.
        clock: for pauses.
    """

    def __init__(
        self,
        api: Api,
        config: RootConfigMapConfig,
        fence: Callable[[], None],
        installation: str,
        clock: Clock,
    ) -> None:
        self._api = api
        self._config = config
        self._fence = fence
        self._installation = installation
        self._clock = clock
        self._place = ConfigMapPlace(config, installation)
        self._text = ""
        self._keeper: Keeper | None = None
        self._informers: list[Informer[Held] | Informer[Literal[True]]] = []

    def want(self, text: str) -> None:
        """Publish these roots from now on."""
        self._text = text
        if self._keeper is not None:
            self._keeper.want(text)

    def report(self) -> Kept | None:
        """How it stands; None while we do not write."""
        return self._keeper.report() if self._keeper else None

    def watch_errors(self) -> tuple[str, ...]:
        """Why the cluster cannot be followed, each cause once."""
        return tuple(dict.fromkeys(one.error.detail for one in self._informers if one.error is not None))

    async def run(self) -> None:
        """Follow and write until cancelled."""
        judge = None if self._config.replace_foreign else self._why_not
        keeper = Keeper(self._api, self._place, self._fence, self._installation, self._clock, judge=judge)
        keeper.want(self._text)
        self._keeper = keeper
        try:
            await (self._listed(keeper) if self._config.namespaces else self._selected(keeper))
        finally:
            self._keeper, self._informers = None, []

    def _why_not(self, item: Tree, text: str) -> str:
        """Why a ConfigMap that we did not write must not get our roots: workloads may live by what it holds."""
        others = other_roots(self._place.text(item), text, self._clock.now())
        if not others:
            return ""
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        writer = self._place.read(item).writer(self._installation)
        todo = (
            "sign below that root (upstream kind secret or files), stop that CA and delete this ConfigMap, "
            "or set kubernetes.root_config_map.replace_foreign to cut off what it issued"
        )
        return f"holds another living root (sha256 {others[0]}){more}, from {writer}; {todo}"

    async def _listed(self, keeper: Keeper) -> None:
        """One watch for each namespace, of one name only."""
        async with asyncio.TaskGroup() as group:
            for namespace in self._namespaces():
                maps = self._follow(f"/api/v1/namespaces/{namespace}/configmaps", keeper)
                group.create_task(maps.run())
                group.create_task(self._kept(keeper, namespace, maps))
            group.create_task(keeper.run())

    async def _kept(self, keeper: Keeper, namespace: str, maps: Informer[Held]) -> None:
        await maps.tried()  # what cannot be looked at is written all the same
        keeper.keep(namespace, maps.items.get(f"{namespace}/{self._config.name}"))

    async def _selected(self, keeper: Keeper) -> None:
        """Two watches, of all namespaces and of this one name in them."""
        maps = self._follow("/api/v1/configmaps", keeper)

        def changed(name: str, alive: Literal[True] | None) -> None:
            if name in self._config.except_:
                return
            if alive:
                keeper.keep(name, maps.items.get(f"{name}/{self._config.name}"))
            else:
                keeper.drop(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(maps.run())
            await maps.tried()  # what cannot be looked at is written all the same
            namespaces = Informer(self._api, "/api/v1/namespaces", active, self._clock, changed=changed)
            self._informers.append(namespaces)
            group.create_task(namespaces.run())
            group.create_task(keeper.run())

    def _follow(self, path: str, keeper: Keeper) -> Informer[Held]:
        selectors = {"fieldSelector": f"metadata.name={self._config.name}"}
        maps = Informer(
            self._api,
            path,
            self._place.read,
            self._clock,
            selectors=selectors,
            changed=lambda key, held: keeper.saw(key.partition("/")[0], held),
        )
        self._informers.append(maps)
        return maps

    def _namespaces(self) -> Iterator[str]:
        return (name for name in dict.fromkeys(self._config.namespaces) if name not in self._config.except_)


def active(item: Tree) -> Literal[True] | None:
    """A namespace that takes new objects; one that is being deleted is left out."""
    deleted = "deletionTimestamp" in item["metadata"] or (item.get("status") or {}).get("phase") == "Terminating"
    return None if deleted else True
