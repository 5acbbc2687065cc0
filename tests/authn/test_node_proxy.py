"""Facts about who may ask for the identity of a workload; every refusal has its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authn.claims import MAX_LABELS
from meshca.authn.cluster import Pod
from meshca.errors import Unauthenticated, Unavailable
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from tests.fakes.callers import NODE, POD, caller
from tests.fakes.node_proxies import WEB, WEB_ID, ZTUNNEL, pod, proxies, proxy, proxy_pod
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.pods import FakePods

GOOD = (proxy_pod(), pod(labels={"app": "web"}))


async def refusal(
    who: Caller, wanted: str = WEB_ID, pods: Sequence[Pod] = GOOD, west: FakePods | None = None
) -> str:
    """The reason of a refusal."""
    with pytest.raises(Unauthenticated) as caught:
        await proxies(*pods, west=west).workloads(who, wanted)
    return caught.value.reason


async def test_the_workload_on_the_proxys_word() -> None:
    """Account, pod and labels are the workload's; cluster, token, node and time are those of the proof."""
    asker = proxy()
    (found,) = await proxies(*GOOD).workloads(asker, WEB_ID)
    assert found == Caller(
        account=WEB,
        proven_by=ProvenBy.NODE_PROXY,
        issuer="home",
        pod=BoundObject(name="web-1", uid="w1"),
        node=NODE,
        token_id="JTI=z",
        proven_at=asker.proven_at,
        until=asker.until,
        labels={"app": "web"},
    )
    assert str(found.identity(TRUST_DOMAIN)) == WEB_ID


async def test_each_pod_of_the_account_on_the_node() -> None:
    """In the order of their names; those elsewhere and finished ones do not count."""
    pods = [
        proxy_pod(),
        pod("web-b", "2"),
        pod("web-a", "1"),
        pod("web-c", "3", node="node-2"),
        pod("web-d", "4", finished=True),
    ]
    found = await proxies(*pods).workloads(proxy(), WEB_ID)
    assert [one.pod.name for one in found if one.pod] == ["web-a", "web-b"]


async def test_a_proof_without_a_node() -> None:
    """An API server before 1.30 names no node in its review; the pod says it."""
    (found,) = await proxies(*GOOD).workloads(proxy(node=None), WEB_ID)
    assert found.node == BoundObject(name=NODE.name, uid="")


async def test_its_own_identity() -> None:
    """A proxy may ask for itself by this way too: its own pod is on its node."""
    (found,) = await proxies(proxy_pod()).workloads(proxy(), "spiffe://cluster.local/ns/istio-system/sa/ztunnel")
    assert found.account == ZTUNNEL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proven_by": ProvenBy.CLIENT_CERT, "serial": "ab"}, "node_proxy_proof"),
        ({"proven_by": ProvenBy.JWKS}, "node_proxy_proof"),
        ({"proven_by": ProvenBy.NODE_PROXY}, "node_proxy_proof"),
        ({"pod": None}, "node_proxy_proof"),
        ({"issuer": "west"}, "unknown_cluster"),
        ({"pod": BoundObject(name="ztunnel-1", uid="z0")}, "node_proxy_pod"),
        ({"pod": BoundObject(name="ztunnel-0", uid="z1")}, "node_proxy_pod"),
        ({"node": BoundObject(name="node-2", uid="n")}, "node_proxy_node"),
    ],
    ids=["certificate", "jwks", "a workload", "no pod", "cluster", "another uid", "another name", "another node"],
)
async def test_refused_proof(changes: dict[str, Any], reason: str) -> None:
    """Only a proxy that its own cluster has proven now, with its pod, may ask."""
    assert await refusal(proxy(**changes)) == reason


@pytest.mark.parametrize(
    "who",
    [
        caller(proven_by=ProvenBy.TOKEN_REVIEW, pod=POD),
        caller("istio-system", "ztunnel-2", proven_by=ProvenBy.TOKEN_REVIEW),
        caller("shop", "ztunnel", proven_by=ProvenBy.TOKEN_REVIEW),
    ],
    ids=["a workload", "another name", "another namespace"],
)
async def test_untrusted_account(who: Caller) -> None:
    """Namespace and name must both be of a trusted account."""
    assert await refusal(who) == "node_proxy_account"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("spiffe://other.example/ns/shop/sa/web", "impersonated_trust_domain"),
        ("spiffe://cluster.local,spiffe://evil/ns/shop/sa/web", "impersonated_identity"),
        ("spiffe://CLUSTER.LOCAL/ns/shop/sa/web", "impersonated_identity"),
        ("spiffe:///ns/shop/sa/web", "impersonated_identity"),
        ("spiffe://cluster.local/ns/shop/sa/web/x", "impersonated_identity"),
        ("spiffe://cluster.local/ns/shop/sa/", "impersonated_identity"),
        ("spiffe://cluster.local/sa/web/ns/shop", "impersonated_identity"),
        ("spiffe://cluster.local/ns/shop/../sa/web", "impersonated_identity"),
        ("spiffe://cluster.local/ns/shop/sa/web,x", "impersonated_identity"),
        ("spiffe://cluster.local/ns/Shop/sa/web", "impersonated_identity"),
        ("spiffe://cluster.local", "impersonated_identity"),
        ("web", "impersonated_identity"),
    ],
)
async def test_refused_identity(wanted: str, reason: str) -> None:
    """What is asked for must be a workload's identity of our own trust domain, spelled in the one way."""
    assert await refusal(proxy(), wanted) == reason


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ([pod()], "node_proxy_pod"),
        ([proxy_pod(account=WEB), pod()], "node_proxy_pod"),
        (
            [proxy_pod(account=ServiceAccount(namespace="istio-system", name="cni")), pod()],
            "node_proxy_pod_account",
        ),
        ([proxy_pod(finished=True), pod()], "node_proxy_pod_finished"),
        ([proxy_pod(node=""), pod(node="")], "node_proxy_node"),
        ([proxy_pod(node="node-2"), pod()], "node_proxy_node"),
        ([proxy_pod()], "workload_not_on_node"),
        ([proxy_pod(), pod(node="node-2")], "workload_not_on_node"),
        ([proxy_pod(), pod(finished=True)], "workload_not_on_node"),
        ([proxy_pod(), pod(labels={f"l{n}": "" for n in range(MAX_LABELS + 1)})], "workload_labels"),
        (
            [proxy_pod(), pod(account=ServiceAccount(namespace="bank", name="web"))],
            "workload_not_on_node",
        ),
        ([proxy_pod(), pod(account=ServiceAccount(namespace="shop", name="api"))], "workload_not_on_node"),
    ],
    ids=[
        "no pod",
        "pod in another namespace",
        "pod of another account",
        "finished proxy",
        "not scheduled",
        "on another node than proven",
        "no workload",
        "workload elsewhere",
        "finished workload",
        "too many labels",
        "workload in another namespace",
        "workload of another account",
    ],
)
async def test_refused_pods(pods: list[Pod], reason: str) -> None:
    """The proxy's pod and the workload's must both live, on one node, as the accounts that are named."""
    assert await refusal(proxy(), pods=pods) == reason


async def test_only_its_own_cluster() -> None:
    """A proxy is not helped by a workload's pod in another cluster, though the node is called the same."""
    west = FakePods(proxy_pod())
    assert await refusal(proxy(issuer="west"), pods=GOOD, west=west) == "workload_not_on_node"


async def test_order() -> None:
    """Of several things that are wrong the first in Istio's order is named."""
    stranger = caller(proven_by=ProvenBy.TOKEN_REVIEW)
    assert await refusal(stranger, "garbage", []) == "node_proxy_account"
    assert await refusal(proxy(), "garbage", []) == "impersonated_identity"
    assert await refusal(proxy(), pods=[]) == "node_proxy_pod"


async def test_pods_that_are_not_known() -> None:
    """Nothing is known to be wrong, so the proxy may try again."""
    pods = FakePods()
    pods.down = Unavailable("kube_unreachable", "the API server cannot be reached")
    with pytest.raises(Unavailable):
        await proxies(west=pods).workloads(proxy(issuer="west"), WEB_ID)


@given(st.text(max_size=80) | st.text("spiffe:/ nsawebshop.cluster-local,%", max_size=80))
async def test_any_text(wanted: str) -> None:
    """Whatever is asked for, it is refused, or it is the one spelling of the one workload that is there."""
    try:
        (found,) = await proxies(*GOOD).workloads(proxy(), wanted)
    except Unauthenticated:
        assert wanted != WEB_ID
    else:
        assert str(found.identity(TRUST_DOMAIN)) == wanted == WEB_ID
