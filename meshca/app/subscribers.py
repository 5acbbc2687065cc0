"""Who may begin a stream, and how often: asked once for each, before anything is kept for it.

Roots are public and policies restrict the workload itself, so whoever is proven gets them, also a workload to
which admission grants nothing: it must still hear of a new refusal or of a root that is no longer trusted. A key
made here is an identity, so its stream asks admission as well.
"""

from __future__ import annotations

from typing import Final

from meshca.authn.chain import Authenticator
from meshca.clock import Clock
from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.spiffe_id import TrustDomain
from meshca.issuance import Issuing
from meshca.quota import Quota, Rate

PER_ISSUANCE: Final = 10  # streams that cost a caller as much as a certificate: they begin anew after each reload


class Subscribers:
    """Proves subscribers, and charges each stream to buckets that certificates do not share.

    Args:
        chain: proves callers.
        issuing: asks admission.
        quota: of streams.
        trust_domain: of the workloads.
        clock: fills the buckets.
    """

    def __init__(
        self, *, chain: Authenticator, issuing: Issuing, quota: Quota, trust_domain: TrustDomain, clock: Clock
    ) -> None:
        self._chain = chain
        self._issuing = issuing
        self._quota = quota
        self._trust_domain = trust_domain
        self._clock = clock

    async def proven(self, credential: Credential) -> Caller:
        """A caller that may have roots and policies.

        Raises:
            Unauthenticated: the caller could not be proven.
            Exhausted: its identity or its namespace began too many streams.
            Unavailable: that could not be decided now.
        """
        return self._charged(await self._chain.prove(credential))

    async def admitted(self, credential: Credential) -> Caller:
        """A caller that may have a key as well.

        Raises:
            Denied: no admission rule lets it have its own identity.
            Unauthenticated, Exhausted, Unavailable: as `proven`.
        """
        return self._charged(await self._issuing.admitted(credential))

    def _charged(self, caller: Caller) -> Caller:
        renewal = caller.proven_by is ProvenBy.CLIENT_CERT
        self._quota.take(caller.identity(self._trust_domain), self._clock.monotonic(), renewal=renewal)
        return caller


def stream_rate(issuing: Rate) -> Rate:
    """How fast streams may begin where certificates may be issued so fast."""
    return Rate(per_second=issuing.per_second * PER_ISSUANCE, burst=issuing.burst * PER_ISSUANCE)
