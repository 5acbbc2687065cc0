"""The ports of a Kubernetes cluster: what proving a caller asks of it. `kube` implements them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshca.authn.local_check import IssuerSource
from meshca.identity.caller import NO_LABELS
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What an API server said of a token (TokenReviewStatus of authentication.k8s.io/v1), not yet judged.

    Attributes:
        authenticated: the one field that decides; absent means no.
        username: of whom the token is.
        groups: of that user.
        audiences: those of ours that the token is for.
        extra: further facts, each a list of values.
        error: for the log only.
    """

    authenticated: bool
    username: str = ""
    groups: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    error: str = ""


class Reviewer(IssuerSource, Protocol):
    """Asks an API server about tokens, and for the keys and the name that sign them; in bounded time."""

    async def review(self, unverified_token: Secret[str], audiences: Sequence[str]) -> Review:
        """What the API server says of a token for one of these audiences.

        Raises:
            Unavailable: our own call failed, or was not answered in time; nothing is known of the token.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What we keep of a pod.

    Attributes:
        account: the service account that it runs as.
        name: unique in its namespace at one time.
        uid: unique for ever.
        node: name of its node; empty before it is scheduled.
        finished: whether it has Succeeded or Failed.
        labels: as an administrator wrote them.
    """

    account: ServiceAccount
    name: str
    uid: str
    node: str
    finished: bool
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS, hash=False)


class Pods(Protocol):
    """The pods of one cluster, from a watch that may lag a little."""

    async def find(self, namespace: str, name: str, uid: str) -> Pod | None:
        """The pod of this name and uid; one that the watch does not know yet is asked for.

        Waits a bounded time for the first read of all pods.

        Raises:
            Unavailable: it is not known, and cannot be asked for.
        """
        ...

    async def on_node(self, node: str, account: ServiceAccount) -> Sequence[Pod]:
        """The unfinished pods of this account on this node.

        Raises:
            Unavailable: the pods have never been read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster whose callers can be proven.

    Attributes:
        name: ours for it: the `issuer` of its callers.
        reviewer: asks about its tokens.
        pods: its pods.
    """

    name: str
    reviewer: Reviewer
    pods: Pods


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """How one cluster is.

    Attributes:
        name: our name of it; of a refused one whatever its Secret says.
        secret: name of the Secret that says how to reach it, empty for the home cluster.
        followed: whether its callers can be proven at all.
        problem: what does not work now, empty when everything does.
    """

    name: str
    secret: str = ""
    followed: bool = True
    problem: str = ""


class Clusters(Protocol):
    """Every cluster that is configured now; remote ones come and go while the server runs."""

    @property
    def states(self) -> Sequence[ClusterState]:
        """How each is, the home cluster first, those that are refused included."""
        ...

    def check_reached(self) -> None:
        """See that the home cluster has answered, ever.

        Raises:
            Unavailable: reason `cluster`.
        """
        ...

    def of(self, cluster_id: str) -> Cluster:
        """The cluster that a `clusterid` header means; the home cluster for an empty one.

        Raises:
            Unauthenticated: reason `unknown_cluster`.
            Unavailable: reason `cluster`, when it is known but was never reached.
        """
        ...

    def named(self, name: str) -> Cluster:
        """The cluster of this name, as in `Caller.issuer`.

        Raises:
            Unauthenticated, Unavailable: as `of`.
        """
        ...
