"""Clusters that a test lists."""

from __future__ import annotations

from typing import cast

from meshca.authn.cluster import Cluster, Reviewer
from meshca.errors import Unauthenticated
from tests.fakes.pods import FakePods


class FakeClusters:
    """Implements `meshca.authn.cluster.Clusters` over a table; the first is home, nobody reviews."""

    def __init__(self, **pods: FakePods) -> None:
        self.pods = pods

    def of(self, cluster_id: str) -> Cluster:
        """The cluster of this id."""
        return self.named(cluster_id or next(iter(self.pods)))

    def named(self, name: str) -> Cluster:
        """The cluster of this name."""
        if name not in self.pods:
            raise Unauthenticated("unknown_cluster", "the test knows no such cluster")
        return Cluster(name=name, reviewer=cast("Reviewer", None), pods=self.pods[name])
