"""Who proves callers, in which order; the real ones are asked in tests/e2e."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshca.app.proving import node_proxies, open_chain, open_known_clusters
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError, Unauthenticated, Unavailable
from meshca.identity.caller import Credential, ProvenBy
from tests.fakes.callers import caller
from tests.fakes.certificates import FakeLineage
from tests.fakes.clock import FakeClock
from tests.fakes.cluster import FakeCluster, FakeClusters, shown
from tests.fakes.logs import captured_logs
from tests.fakes.node_proxies import WEB_ID, proxy

ISSUER = {"name": "other", "issuer": "https://other", "keys": {"file": "none"}}


async def names(tree: dict[str, Any]) -> list[str]:
    """Who looks at a caller without a token, in order."""
    config, clock = ServerConfig.model_validate(tree), FakeClock()
    clusters = FakeClusters(FakeCluster(clock).value)
    with captured_logs():
        async with open_chain(config, FakeLineage({}), clusters, clock) as chain:
            with pytest.raises(Unauthenticated) as caught:
                await chain.prove(Credential())
    return [part.partition(":")[0] for part in caught.value.detail.split("; ")]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, ["client_cert", "jwks"]),
        ({"authn": {"issuers": [ISSUER]}}, ["client_cert", "jwks"]),
        ({"kubernetes": {}}, ["client_cert", "token_review"]),
        ({"kubernetes": {}, "authn": {"issuers": [ISSUER]}}, ["client_cert", "jwks", "token_review"]),
        ({"kubernetes": {}, "authn": {"client_cert": {"enabled": False}}}, ["token_review"]),
        ({"kubernetes": {"token_review": {"enabled": False}}}, ["client_cert", "jwks"]),
    ],
    ids=["nothing", "an issuer", "a cluster", "both", "no certificates", "nothing reviewed"],
)
async def test_the_order(tree: dict[str, Any], expected: list[str]) -> None:
    """A certificate first, then keys that are configured, then the clusters; nobody is asked for nothing."""
    assert await names(tree) == expected


async def test_a_clusters_token_goes_through_the_chain() -> None:
    """An issuer of another name is asked first, and does not stop it."""
    clock = FakeClock()
    cluster = FakeCluster(clock)
    config = ServerConfig.model_validate({"kubernetes": {}, "authn": {"issuers": [ISSUER]}})
    with captured_logs():
        async with open_chain(config, FakeLineage({}), FakeClusters(cluster.value), clock) as chain:
            caller = await chain.prove(shown(cluster.token()))
    assert (caller.issuer, caller.proven_by) == ("home", "token_review")


@pytest.mark.parametrize(
    "tree",
    [{}, {"kubernetes": {"token_review": {"enabled": False}}}],
    ids=["no cluster", "a cluster that nothing is asked of"],
)
async def test_no_cluster_is_followed_without_need(tree: dict[str, Any]) -> None:
    """And Kubernetes' library is not loaded."""
    async with open_known_clusters(ServerConfig.model_validate(tree), FakeClock()) as clusters:
        assert clusters is None


async def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    """Opens at once: what needs it is unavailable until it answers."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], users: [{name: u, user: {token: t}}],"
        " contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}"
    )
    config = ServerConfig.model_validate({"kubernetes": {"kubeconfig": str(path)}})
    with captured_logs():
        async with open_known_clusters(config, clock := FakeClock()) as clusters:
            assert clusters is not None
            with pytest.raises(Unavailable):
                await clusters.of("").reviewer.review(FakeCluster(clock).token(), ["istio-ca"])


def test_nobody_asks_for_others_by_default() -> None:
    """Node proxies must be named."""
    clusters = FakeClusters(FakeCluster(FakeClock()).value)
    assert node_proxies(ServerConfig(), clusters) is None
    assert node_proxies(ServerConfig.model_validate({"kubernetes": {}}), clusters) is None


async def test_named_node_proxies() -> None:
    """Exactly those that are named are believed."""
    clusters = FakeClusters(FakeCluster(FakeClock()).value)
    config = ServerConfig.model_validate({"kubernetes": {"trusted_node_accounts": ["istio-system/ztunnel"]}})
    judge = node_proxies(config, clusters)
    assert judge is not None
    for asker, reason in (
        (proxy(), "node_proxy_pod"),
        (caller(proven_by=ProvenBy.TOKEN_REVIEW), "node_proxy_account"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await judge.workloads(asker, WEB_ID)
        assert caught.value.reason == reason


async def test_no_way_to_the_cluster() -> None:
    """Is the operator's to mend, and says how."""
    config = ServerConfig.model_validate({"kubernetes": {}})
    with pytest.raises(ConfigError, match=r"set kubernetes\.kubeconfig"):
        async with open_known_clusters(config, FakeClock()):
            pytest.fail("opened")
