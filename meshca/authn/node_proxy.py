"""Node proxies (ztunnel) ask for the identities of the workloads on their node. Who may, and for whom.

Istio's rules in its order (security/pkg/server/ca/node_auth.go): trusted account, an identity that can be read,
the proxy's own pod, a pod of the workload on the same node. Stricter in three places: only our own trust domain,
only pods that are not finished, and the identity in the certificate is never the text that was asked for but
made anew from namespace and service account. What the workload may be issued is for admission to say.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from meshca.authn.claims import MAX_LABELS
from meshca.authn.cluster import Clusters, Pod, Pods
from meshca.errors import BadRequest, Unauthenticated
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain


class NodeProxies:
    """Judges who asks for another's identity.

    Args:
        trusted: accounts of node proxies, the same in every cluster.
        clusters: where their pods are looked up; each proxy's own cluster only.
        trust_domain: ours.
    """

    def __init__(self, trusted: Collection[ServiceAccount], clusters: Clusters, trust_domain: TrustDomain) -> None:
        self._trusted = frozenset(trusted)
        self._clusters = clusters
        self._trust_domain = trust_domain

    async def workloads(self, proxy: Caller, unverified_identity: str) -> tuple[Caller, ...]:
        """The workload that a proxy asks for, once for each of its unfinished pods on the node, by name.

        Args:
            proxy: who asks, proven.
            unverified_identity: the SPIFFE ID that was asked for.

        Raises:
            Unauthenticated: reason `node_proxy_proof`, `node_proxy_account`, `impersonated_identity`,
                `impersonated_trust_domain`, `unknown_cluster`, `node_proxy_pod`, `node_proxy_pod_account`,
                `node_proxy_pod_finished`, `node_proxy_node`, `workload_not_on_node` or `workload_labels`.
            Unavailable: the pods of the cluster are not known now.
        """
        own_pod = _pod_of_review(proxy)
        self._check_trusted(proxy)
        account = self._account(unverified_identity)
        pods = self._clusters.named(proxy.issuer).pods
        node = await _node(pods, proxy, own_pod)
        found = await pods.on_node(node.name, account)
        if not found:
            raise Unauthenticated("workload_not_on_node", f"no unfinished pod of {account} is on node {node.name}")
        return tuple(_workload(pod, proxy, node) for pod in sorted(found, key=lambda pod: pod.name))

    def _check_trusted(self, proxy: Caller) -> None:
        if proxy.account not in self._trusted:
            raise Unauthenticated(
                "node_proxy_account",
                f"{proxy.account} asks for another's identity; if it is a node proxy of yours, add it to "
                "kubernetes.trusted_node_accounts",
            )

    def _account(self, unverified: str) -> ServiceAccount:
        try:
            identity = SpiffeId.parse(unverified)
            account = identity.service_account()
        except BadRequest as error:
            raise Unauthenticated("impersonated_identity", error.detail) from None
        if identity.trust_domain != self._trust_domain:
            raise Unauthenticated(
                "impersonated_trust_domain", f"only identities of {self._trust_domain} are issued"
            )
        return account


def _pod_of_review(proxy: Caller) -> BoundObject:
    """The pod that a token review named; a certificate or a token checked elsewhere does not say where it runs."""
    if proxy.proven_by is not ProvenBy.TOKEN_REVIEW or proxy.pod is None:
        raise Unauthenticated("node_proxy_proof", "expected a token bound to a pod, proven by its own cluster")
    return proxy.pod


async def _node(pods: Pods, proxy: Caller, own_pod: BoundObject) -> BoundObject:
    """The node that the proxy's pod is on."""
    pod = await pods.find(proxy.account.namespace, own_pod.name, own_pod.uid)
    if pod is None:
        raise Unauthenticated("node_proxy_pod", f"there is no pod {own_pod.name} with uid {own_pod.uid}")
    if pod.account != proxy.account:
        raise Unauthenticated("node_proxy_pod_account", f"pod {pod.name} runs as {pod.account}")
    if pod.finished:
        raise Unauthenticated("node_proxy_pod_finished", f"pod {pod.name} has succeeded or failed")
    proven = proxy.node or BoundObject(name=pod.node, uid="")
    if not pod.node or pod.node != proven.name:
        raise Unauthenticated("node_proxy_node", f"pod {pod.name} is on node {pod.node or '(none)'}")
    return proven


def _workload(pod: Pod, proxy: Caller, node: BoundObject) -> Caller:
    """The workload as admission and the ledger see it: itself, on the proxy's word."""
    if len(pod.labels) > MAX_LABELS:  # not all of them are known
        raise Unauthenticated("workload_labels", f"pod {pod.name} has more than {MAX_LABELS} labels")
    return replace(
        proxy,
        account=pod.account,
        proven_by=ProvenBy.NODE_PROXY,
        pod=BoundObject(name=pod.name, uid=pod.uid),
        node=node,
        labels=pod.labels,
    )
