"""Every cluster whose callers can be proven: the home cluster, and remote ones that come and go.

A name decides which API server is asked, and is the issuer that admission rules see. So a remote cluster must
never have a name that means home, or that of another issuer: it could speak for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from meshca.authn.cluster import Cluster, Reviewer
from meshca.background import running
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import Unauthenticated
from meshca.kube.api import Api
from meshca.kube.connection import connect
from meshca.kube.pods import WatchedPods

MakeReviewer = Callable[[Api], Reviewer]


class KubeClusters:
    """The port `authn.cluster.Clusters`.

    Args:
        home: our own cluster.
        aliases: further cluster ids that mean it.
    """

    def __init__(self, home: Cluster, aliases: frozenset[str]) -> None:
        self._home = home
        self._aliases = aliases

    def of(self, cluster_id: str) -> Cluster:
        """The cluster that a `clusterid` header means; the home cluster for an empty one.

        Raises:
            Unauthenticated: reason `unknown_cluster`.
        """
        return self.named(self._home.name if cluster_id in self._aliases or not cluster_id else cluster_id)

    def named(self, name: str) -> Cluster:
        """The cluster of this name.

        Raises:
            Unauthenticated: reason `unknown_cluster`.
        """
        if name == self._home.name:
            return self._home
        raise Unauthenticated("unknown_cluster", "the clusterid header names no cluster that is configured here")


@contextlib.asynccontextmanager
async def open_clusters(
    config: KubernetesConfig, clock: Clock, make_reviewer: MakeReviewer
) -> AsyncIterator[KubeClusters]:
    """The clusters of a configuration, followed for as long as the block lasts; nothing waits for an API server.

    Args:
        config: of the home cluster.
        clock: for pauses and patience.
        make_reviewer: asks a cluster's API server about tokens.

    Raises:
        ConfigError: there is no usable way to the home cluster.
    """
    async with connect(config) as api:
        pods = WatchedPods(api, clock, config.timeout)
        home = Cluster(name=config.name, reviewer=make_reviewer(api), pods=pods)
        async with running("pods", pods.run, clock):
            yield KubeClusters(home, frozenset(config.cluster_ids))
