"""Every cluster whose callers can be proven: the home cluster, and remote ones that come and go.

A name decides which API server is asked, and is the issuer that admission rules see. So nothing but the home
cluster may ever answer for a name that means home.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection
from typing import Final

from meshca import metrics
from meshca.authn.cluster import Cluster, ClusterState
from meshca.background import running
from meshca.clock import Clock
from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import Unauthenticated, Unavailable
from meshca.kube.connection import connect, own_namespace
from meshca.kube.pods import WatchedPods
from meshca.kube.remote_clusters import MakeReviewer, RemoteClusters

SHOW_SECONDS: Final = 5.0  # between two looks at how the clusters are, for the metric
HOME_NAME: Final = "home"  # what the shipped admission rules call it, whatever the configuration does


class KubeClusters:
    """The port `authn.cluster.Clusters`; `run` keeps the metric fresh.

    Args:
        home: our own cluster.
        pods: of the home cluster.
        aliases: further cluster ids that mean it.
        remote: the others; None when none are looked for.
        clock: for `run`.
    """

    def __init__(
        self,
        home: Cluster,
        pods: WatchedPods,
        aliases: Collection[str],
        remote: RemoteClusters | None,
        clock: Clock,
    ) -> None:
        self._home = home
        self._pods = pods
        self._aliases = frozenset(aliases)
        self._remote = remote
        self._clock = clock

    def of(self, cluster_id: str) -> Cluster:
        """The cluster that a `clusterid` header means; the home cluster for an empty one.

        Raises:
            Unauthenticated: reason `unknown_cluster`.
            Unavailable: reason `cluster`, when it is known but there is no usable way to it.
        """
        return self._home if not cluster_id or cluster_id in self._aliases else self.named(cluster_id)

    def named(self, name: str) -> Cluster:
        """The cluster of this name, as in `Caller.issuer`.

        Raises:
            Unauthenticated, Unavailable: as `of`.
        """
        if name == self._home.name:
            return self._home
        if self._remote is not None:
            return self._remote.named(name)
        raise Unauthenticated("unknown_cluster", "the clusterid header names no cluster that is configured here")

    @property
    def states(self) -> tuple[ClusterState, ...]:
        """How each cluster is, the home cluster first."""
        problems = [self._pods.problem, self._remote.problem if self._remote else ""]
        home = ClusterState(name=self._home.name, problem="; ".join(filter(None, problems)))
        return (home, *(self._remote.states if self._remote else ()))

    def check_reached(self) -> None:
        """See that the home cluster has answered, ever; one that is gone later leaves us what needs it least.

        Raises:
            Unavailable: reason `cluster`.
        """
        if not self._pods.was_read:
            raise Unavailable("cluster", f"{self._home.name} was not reached yet: {self._pods.problem}")

    async def run(self) -> None:
        """Show for ever how many clusters are in which state."""
        while True:
            counts = Counter(_word(state) for state in self.states)
            for word in WORDS:
                metrics.clusters.labels(word).set(counts[word])
            await self._clock.sleep(SHOW_SECONDS)


WORDS: Final = ("good", "failing", "refused")


def _word(state: ClusterState) -> str:
    if not state.followed:
        return "refused"
    return "failing" if state.problem else "good"


@contextlib.asynccontextmanager
async def open_clusters(
    config: KubernetesConfig, clock: Clock, make_reviewer: MakeReviewer, *, issuers: Collection[str] = ()
) -> AsyncIterator[KubeClusters]:
    """The clusters of a configuration, followed for as long as the block lasts; nothing waits for an API server.

    Args:
        config: of the home cluster.
        clock: for pauses and patience.
        make_reviewer: asks a cluster's API server about tokens.
        issuers: names of other issuers of tokens, which no remote cluster may have.

    Raises:
        ConfigError: there is no usable way to the home cluster.
    """
    async with connect(config) as api, contextlib.AsyncExitStack() as stack:
        pods = WatchedPods(api, clock, config.timeout)
        home = Cluster(name=config.name, reviewer=make_reviewer(api), pods=pods)
        remote: RemoteClusters | None = None
        if config.remote_clusters.enabled:
            reserved = {HOME_NAME, config.name, *config.cluster_ids, *issuers}
            remote = RemoteClusters(
                api=api,
                namespace=own_namespace(config),
                config=config,
                reserved=reserved,
                clock=clock,
                make_reviewer=make_reviewer,
            )
            await stack.enter_async_context(running("remote clusters", remote.run, clock))
        await stack.enter_async_context(running("pods", pods.run, clock))
        clusters = KubeClusters(home, pods, config.cluster_ids, remote, clock)
        await stack.enter_async_context(running("clusters", clusters.run, clock))
        yield clusters
