"""A cluster in memory: it issues tokens, reviews them as an API server does, and has pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from meshca.authn.cluster import Cluster, ClusterState, Pod, Review
from meshca.authn.compact import take_apart
from meshca.authn.judgement import EXTRA, GROUP
from meshca.authn.keys import read_keys
from meshca.clock import Clock
from meshca.errors import MeshcaError, Unauthenticated
from meshca.identity.caller import Credential
from meshca.identity.service_account import ServiceAccount
from meshca.secret import Secret
from tests.fakes.pods import FakePods
from tests.fakes.tokens import FakeIssuer, ec_key

LABELS = {"app": "web"}


def pod(name: str = "web", **changes: Any) -> Pod:
    """The running pod `<name>-0` of shop/<name>."""
    account = ServiceAccount(namespace="shop", name=name)
    usual = Pod(account=account, name=f"{name}-0", uid=f"uid-{name}", node="node-1", finished=False, labels=LABELS)
    return replace(usual, **changes)


class FakeReviewer:
    """Implements `meshca.authn.cluster.Reviewer` over one issuer.

    Attributes:
        asked: how many reviews were begun.
        under_way, most: reviews at once, now and ever.
        fetches: how often the keys were asked for.
        down: what every call raises meanwhile.
        held: while set, reviews wait.
        spoil: changes every answer.
    """

    def __init__(self, issuer: FakeIssuer) -> None:
        self._issuer = issuer
        self.asked = self.under_way = self.most = 0
        self.audiences: Sequence[str] = ()
        self.down: MeshcaError | None = None
        self.held: asyncio.Event | None = None
        self.spoil: Callable[[Review], Review] = lambda review: review

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return self._issuer.source.fetches

    async def review(self, unverified_token: Secret[str], audiences: Sequence[str]) -> Review:
        """As an API server answers; a turn of the loop later at the earliest."""
        self.asked += 1
        self.audiences = audiences
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            if self.held is not None:
                await self.held.wait()
            if self.down is not None:
                raise self.down
            return self.spoil(self._answer(unverified_token.reveal(), audiences))
        finally:
            self.under_way -= 1

    async def fetch(self) -> bytes:
        """The keys."""
        if self.down is not None:
            raise self.down
        return await self._issuer.source.fetch()

    async def issuer(self) -> str:
        """The name that it signs under."""
        return self._issuer.issuer

    def _answer(self, unverified_token: str, audiences: Sequence[str]) -> Review:
        try:
            token = take_apart(unverified_token)
            claims = token.unverified_claims
            key = read_keys(self._issuer.document).find(token.header.key_id)
            if claims["iss"] != self._issuer.issuer or key is None:
                return Review(authenticated=False)
            key.verify(token.header.algorithm, token.signing_input, token.signature)
        except Unauthenticated:
            return Review(authenticated=False, error="invalid bearer token")
        common = frozenset(audiences) & frozenset(claims["aud"])
        if not common:
            return Review(authenticated=False, error="invalid for the target audiences")
        bound = claims.get("kubernetes.io") or {}
        extra = {EXTRA + "credential-id": [f"JTI={claims['jti']}"]}
        for kind in ("pod", "node"):
            for field, value in (bound.get(kind) or {}).items():
                extra[f"{EXTRA}{kind}-{field}"] = [value]
        return Review(
            authenticated=True,
            username=claims["sub"],
            groups=frozenset({GROUP, "system:authenticated"}),
            audiences=common,
            extra=extra,
        )


class FakeCluster:
    """One cluster with two pods, `web-0` and `api-0`.

    Attributes:
        issuer: of its tokens.
        reviewer, pods: as its `value` has them.
        value: for an authenticator.
    """

    def __init__(self, clock: Clock, name: str = "home") -> None:
        self.issuer = FakeIssuer(clock, name=name, key=ec_key(sum(name.encode())), issuer=f"https://{name}")
        self.reviewer = FakeReviewer(self.issuer)
        self.pods = FakePods(pod("web"), pod("api"))
        self.value = Cluster(name=name, reviewer=self.reviewer, pods=self.pods)

    def token(self, name: str = "web", *, bound: bool = True, **claims: Any) -> Secret[str]:
        """A token of shop/<name>, bound to its pod and node."""
        objects = {"pod": {"name": f"{name}-0", "uid": f"uid-{name}"}, "node": {"name": "node-1", "uid": "uid-n"}}
        said = {"namespace": "shop", "serviceaccount": {"name": name, "uid": f"uid-sa-{name}"}}
        changes = {"kubernetes.io": said | (objects if bound else {}), **claims}
        return Secret(self.issuer.token(name=name, **changes))

    def tokens(self, count: int) -> list[Secret[str]]:
        """So many different good tokens."""
        return [self.token(jti=f"token-{number}") for number in range(count)]


class FakeClusters:
    """Implements `meshca.authn.cluster.Clusters`; the first is home."""

    def __init__(self, *clusters: Cluster) -> None:
        self.home = clusters[0].name
        self.known = {cluster.name: cluster for cluster in clusters}

    @property
    def states(self) -> Sequence[ClusterState]:
        """All well."""
        return [ClusterState(name=name) for name in self.known]

    def check_reached(self) -> None:
        """It was."""

    def of(self, cluster_id: str) -> Cluster:
        """The cluster of this id."""
        return self.named(self.home if cluster_id in {"", "Kubernetes"} else cluster_id)

    def named(self, name: str) -> Cluster:
        """The cluster of this name."""
        if name not in self.known:
            raise Unauthenticated("unknown_cluster", "no such cluster")
        return self.known[name]


def shown(token: Secret[str], cluster: str = "") -> Credential:
    """A credential with a token and the header `clusterid`."""
    return Credential(unverified_token=token, cluster=cluster)
