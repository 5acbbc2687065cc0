"""A node with a proxy on it, and workloads, for the tests of whoever asks for another's identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from meshca.authn.cluster import Cluster, Pod, Reviewer
from meshca.authn.node_proxy import NodeProxies
from meshca.identity.caller import NO_LABELS, BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from tests.fakes.callers import NODE, caller
from tests.fakes.cluster import FakeClusters
from tests.fakes.pki import TRUST_DOMAIN
from tests.fakes.pods import FakePods

ZTUNNEL = ServiceAccount(namespace="istio-system", name="ztunnel")
WEB = ServiceAccount(namespace="shop", name="web")
WEB_ID = "spiffe://cluster.local/ns/shop/sa/web"
OWN_POD = BoundObject(name="ztunnel-1", uid="z1")


def pod(
    name: str = "web-1",
    uid: str = "w1",
    *,
    account: ServiceAccount = WEB,
    node: str = NODE.name,
    finished: bool = False,
    labels: Mapping[str, str] = NO_LABELS,
) -> Pod:
    """A pod of the workload on the proxy's node, unless told otherwise."""
    return Pod(account=account, name=name, uid=uid, node=node, finished=finished, labels=labels)


def proxy_pod(**changes: Any) -> Pod:
    """The proxy's own pod."""
    return pod(**{"name": OWN_POD.name, "uid": OWN_POD.uid, "account": ZTUNNEL, **changes})


def proxy(**changes: Any) -> Caller:
    """A proxy that its cluster has proven."""
    usual = {"proven_by": ProvenBy.TOKEN_REVIEW, "pod": OWN_POD, "token_id": "JTI=z"}
    return caller("istio-system", "ztunnel", **{**usual, **changes})


def proxies(*pods: Pod, west: FakePods | None = None) -> NodeProxies:
    """A judge over the pods of the home cluster, and of another if there is one."""
    known = {"home": FakePods(*pods)} | ({} if west is None else {"west": west})
    reviewer = cast("Reviewer", None)  # nobody is reviewed here
    clusters = [Cluster(name=name, reviewer=reviewer, pods=found) for name, found in known.items()]
    return NodeProxies([ZTUNNEL], FakeClusters(*clusters), TRUST_DOMAIN)
