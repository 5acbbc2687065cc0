"""Facts about finding the cluster that a caller names."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import yaml

from meshca import metrics
from meshca.authn.cluster import Cluster, Reviewer
from meshca.background import running
from meshca.config.kubernetes import KubernetesConfig, RemoteClustersConfig
from meshca.errors import ConfigError, Unauthenticated, Unavailable
from meshca.kube.clusters import SHOW_SECONDS, KubeClusters, open_clusters
from meshca.kube.pods import WatchedPods
from tests.fakes.clock import FakeClock
from tests.fakes.kube_api import FakeApi
from tests.fakes.kubeconfigs import inline_kubeconfig

REVIEWER = cast("Reviewer", "reviewer")


def home(api: FakeApi, clock: FakeClock) -> KubeClusters:
    """The home cluster alone, called `main`."""
    pods = WatchedPods(api, clock, timedelta(seconds=5))
    cluster = Cluster(name="main", reviewer=REVIEWER, pods=pods)
    return KubeClusters(cluster, pods, ("Kubernetes", "c1"), None, clock)


@pytest.mark.parametrize("cluster_id", ["", "main", "Kubernetes", "c1"])
def test_home(cluster_id: str) -> None:
    """Nothing, its name and its aliases mean the home cluster."""
    assert home(FakeApi(), FakeClock()).of(cluster_id).name == "main"


@pytest.mark.parametrize("cluster_id", ["east", "home", "MAIN", "main ", "kubernetes"])
def test_unknown(cluster_id: str) -> None:
    """Anything else is unknown where no remote clusters are looked for."""
    with pytest.raises(Unauthenticated) as caught:
        home(FakeApi(), FakeClock()).of(cluster_id)
    assert caught.value.reason == "unknown_cluster"


def test_an_alias_is_no_name() -> None:
    """A caller's issuer is a name, never an alias."""
    with pytest.raises(Unauthenticated):
        home(FakeApi(), FakeClock()).named("Kubernetes")


async def test_states_are_counted() -> None:
    """The metric says how many clusters are in which state."""
    api, clock = FakeApi(), FakeClock()
    clusters = home(api, clock)
    async with running("clusters", clusters.run, clock):
        await clock.advance(0)
        assert [metrics.clusters.labels(word)._value.get() for word in ("good", "failing")] == [0, 1]
        async with running("pods", clusters._pods.run, clock):
            await clock.advance(SHOW_SECONDS)
            assert [metrics.clusters.labels(word)._value.get() for word in ("good", "failing")] == [1, 0]


async def test_readiness_waits_for_the_home_cluster() -> None:
    """Until its pods were read once; what goes wrong later is told otherwise."""
    api, clock = FakeApi(), FakeClock()
    clusters = home(api, clock)
    with pytest.raises(Unavailable, match="main was not reached yet"):
        clusters.check_reached()
    async with running("pods", clusters._pods.run, clock):
        await clock.advance(0)
        clusters.check_reached()
        api.down = Unavailable("kube_unreachable", "gone")
        api.break_watches(api.down)
        await clock.advance(0)
        clusters.check_reached()


class TestOpening:
    """A start waits for no API server."""

    async def test_a_dead_home_cluster(self, tmp_path: Path) -> None:
        """It is known, and asking it is Unavailable; so are remote clusters, whose Secrets cannot be read."""
        file = tmp_path / "kubeconfig"
        file.write_text(inline_kubeconfig())
        config = KubernetesConfig(
            kubeconfig=file, namespace="meshca", remote_clusters=RemoteClustersConfig(enabled=True)
        )
        async with open_clusters(config, FakeClock(), lambda _: REVIEWER) as clusters:
            with pytest.raises(Unavailable, match="kube_unreachable"):
                await clusters.of("").pods.find("shop", "web-1", "u1")
            with pytest.raises(Unavailable, match="cluster"):
                clusters.of("east")
            (state,) = clusters.states
            assert "cannot be reached" in state.problem

    async def test_no_namespace(self, tmp_path: Path) -> None:
        """Where remote clusters are looked for, ours must be known."""
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(yaml.safe_load(inline_kubeconfig())))
        config = KubernetesConfig(kubeconfig=file, remote_clusters=RemoteClustersConfig(enabled=True))
        with pytest.raises(ConfigError, match=r"kubernetes\.namespace"):
            async with open_clusters(config, FakeClock(), lambda _: REVIEWER):
                pass
