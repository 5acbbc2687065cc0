"""Controllers of the roots, run against the cluster under test, with the rights that the chart gives them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from meshca.clock import SystemClock
from meshca.config.kubernetes import ClusterTrustBundleConfig, RootConfigMapConfig
from meshca.errors import NotFound
from meshca.kube.api import Api, Tree
from meshca.kube.root_config_maps import RootConfigMaps
from meshca.kube.trust_bundle import TrustBundle
from tests.e2e.kube.cluster import TestCluster
from tests.fakes.pki import make_ca

KEY = "root-cert.pem"
INSTALLATION = "meshca/meshca-leader"
Rule = dict[str, list[str]]
NAMESPACES: Final[Rule] = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}


def root(name: str) -> str:
    """PEM of a root that is valid today."""
    now = datetime.now(UTC).replace(microsecond=0)
    return make_ca(name, begin=now - timedelta(hours=1), end=now + timedelta(days=30)).pem


FIRST, SECOND = root("first"), root("second")


def free() -> None:
    """A fence that lets everything through."""


@contextlib.asynccontextmanager
async def task(run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Something that runs inside the block."""
    running = asyncio.ensure_future(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def bundling(api: Api, signer: str, roots: str = FIRST) -> AsyncIterator[TrustBundle]:
    """A ClusterTrustBundle kept inside the block."""
    config = ClusterTrustBundleConfig(enabled=True, signer=signer)
    bundle = TrustBundle(api, config, free, INSTALLATION, SystemClock())
    bundle.want(roots)
    async with task(bundle.run):
        yield bundle


class Roots:
    """ConfigMaps of one name, which no other test has: those who publish to a whole cluster do not meet."""

    def __init__(self) -> None:
        self.name = f"roots-{secrets.token_hex(4)}"

    @contextlib.asynccontextmanager
    async def publishing(
        self, api: Api, *, roots: str = FIRST, installation: str = INSTALLATION, **settings: Any
    ) -> AsyncIterator[RootConfigMaps]:
        """Kept inside the block."""
        config = RootConfigMapConfig(enabled=True, name=self.name, **settings)
        maps = RootConfigMaps(api, config, free, installation, SystemClock())
        maps.want(roots)
        async with task(maps.run):
            yield maps

    def rule(self, *without: str) -> Rule:
        """What the chart grants, without some verbs."""
        verbs = [verb for verb in ("get", "list", "watch", "create", "patch") if verb not in without]
        return {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [self.name], "verbs": verbs}

    def path(self, namespace: str) -> str:
        """Of a namespace's ConfigMap."""
        return f"/api/v1/namespaces/{namespace}/configmaps/{self.name}"

    async def found(self, cluster: TestCluster, namespace: str) -> Tree | None:
        """The ConfigMap of a namespace."""
        try:
            return await cluster.api.get(self.path(namespace))
        except NotFound:
            return None

    async def holds(self, cluster: TestCluster, namespaces: Sequence[str], roots: str) -> bool:
        """Whether all of these hold exactly these roots."""
        maps = [await self.found(cluster, namespace) for namespace in namespaces]
        return all(one is not None and one["data"].get(KEY) == roots for one in maps)
