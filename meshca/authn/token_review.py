"""Service-account tokens proven by the cluster that issued them: TokenReview, and the pod they are bound to.

Steps, each of which ends the proof with its own reason:
 1. at most 16 KiB, one JWS in compact form        token_too_large, token_malformed
 2. its times; `exp` must be there                 token_claims, token_expired, token_not_yet_valid
 3. the cluster of the `clusterid` header          unknown_cluster
 4. modes local and pods: the cluster's keys       see `local_check`
 5. modes review and local: the API server's word  see `judgement`
 6. the pod that the token is bound to             see `judgement`

What is read in step 2 of a token that nobody has verified can only refuse it; `exp` is believed once step 4 or 5
has gone well. Step 6 is done at each use, whatever is remembered of the others.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from meshca.authn.chain import NO_CREDENTIAL
from meshca.authn.claims import Expectation, read_times
from meshca.authn.cluster import Cluster, Clusters
from meshca.authn.compact import UnverifiedToken, take_apart
from meshca.authn.judgement import bound_pod, judge
from meshca.authn.local_check import LocalCheck
from meshca.authn.review_load import ReviewLoad
from meshca.clock import Clock
from meshca.config.authn import MAX_LEEWAY
from meshca.config.kubernetes import TokenReviewConfig
from meshca.errors import Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.secret import Secret

LEEWAY: Final = timedelta(seconds=10)  # for what is checked by the cluster's keys


class TokenReviewAuthenticator:
    """Proves callers by tokens of several clusters, which come and go.

    Args:
        clusters: whose tokens are proven.
        config: how.
        clock: for the age of tokens, answers and keys.
    """

    name = "token_review"

    def __init__(self, clusters: Clusters, config: TokenReviewConfig, clock: Clock) -> None:
        self._clusters = clusters
        self._config = config
        self._clock = clock
        self._provers: dict[str, _Prover] = {}

    async def prove(self, credential: Credential) -> Caller:
        """The caller that a bearer token proves.

        Raises:
            Unauthenticated: reason `no_credential` or one of the module's list.
            Unavailable: a call of ours failed, or was not made because too many did; nothing is known of the
                caller.
        """
        if credential.unverified_token is None:
            raise Unauthenticated(NO_CREDENTIAL, "no bearer token was sent")
        token = take_apart(credential.unverified_token.reveal())
        # As much leeway as the API server gives: it must not be us who refuse what it would not.
        until = read_times(token.unverified_claims, MAX_LEEWAY, self._clock.now())
        prover = self._prover(self._clusters.of(credential.cluster))
        return await prover.prove(credential.unverified_token, token, until)

    def _prover(self, cluster: Cluster) -> _Prover:
        """Of this very cluster: nothing that was remembered of another with its name is used again."""
        prover = self._provers.get(cluster.name)
        if prover is None or prover.cluster != cluster:
            self._forget_the_gone()
            prover = self._provers[cluster.name] = _Prover(cluster, self._config, self._clock)
        return prover

    def _forget_the_gone(self) -> None:
        for name in list(self._provers):
            try:
                self._clusters.named(name)
            except (Unauthenticated, Unavailable):
                del self._provers[name]


class _Prover:
    """Proves callers of one cluster."""

    def __init__(self, cluster: Cluster, config: TokenReviewConfig, clock: Clock) -> None:
        self.cluster = cluster
        self._clock = clock
        self._expected = Expectation(issuer=cluster.name, audiences=frozenset(config.audiences), leeway=LEEWAY)
        reviewer = cluster.reviewer
        alone = config.mode == "pods"
        self._local = LocalCheck(reviewer, self._expected, clock, alone=alone) if config.mode != "review" else None
        self._load = ReviewLoad(cluster.name, reviewer, config, clock) if not alone else None

    async def prove(self, unverified_token: Secret[str], token: UnverifiedToken, until: datetime) -> Caller:
        """As the authenticator, from step 4 on."""
        caller: Caller | None = None
        if self._local is not None:
            caller = await self._local.verify(token)
        if self._load is not None:
            review = await self._load.review(unverified_token, until)
            now = self._clock.now()
            caller = judge(review, token.unverified_claims, self._expected, now=now, until=until)
        assert caller is not None  # noqa: S101 - every mode has at least one of the two
        return await self._alive(caller)

    async def _alive(self, caller: Caller) -> Caller:
        """The caller with the labels of its pod, which must be there and not have finished."""
        if caller.pod is None:
            return caller
        found = await self.cluster.pods.find(caller.account.namespace, caller.pod.name, caller.pod.uid)
        return replace(caller, labels=bound_pod(caller, found).labels)
