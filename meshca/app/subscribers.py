"""Who may begin a stream, and how often: asked once for each, before anything is kept for it.

Roots are public and policies restrict the workload itself, so a brake does not keep them from a workload: it
must still hear of a new refusal or of a root that is no longer trusted. But a stream acts as its identity, so the
caller's issuer must be one that a rule lets speak for it. A key made here is an identity: its stream asks all of
admission. No cluster may use up what the streams of another need.
"""

from __future__ import annotations

from typing import Final

from meshca.clock import Clock
from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.spiffe_id import TrustDomain
from meshca.issuance import Issuing
from meshca.quota import Quota, Rate

PER_ISSUANCE: Final = 10  # streams that cost a caller as much as a certificate: they begin anew after each reload


class Subscribers:
    """Proves subscribers, and charges each stream to buckets that certificates do not share.

    Args:
        issuing: proves callers, and asks admission.
        quota: of streams.
        trust_domain: of the workloads.
        clock: fills the buckets.
    """

    def __init__(self, *, issuing: Issuing, quota: Quota, trust_domain: TrustDomain, clock: Clock) -> None:
        self._issuing = issuing
        self._quota = quota
        self._trust_domain = trust_domain
        self._clock = clock

    async def proven(self, credential: Credential) -> Caller:
        """A caller that may have roots and policies.

        Raises:
            Unauthenticated: the caller could not be proven.
            Denied: no admission rule could ever let its issuer have its own identity.
            Exhausted: its identity or its namespace began too many streams.
            Unavailable: that could not be decided now.
        """
        return self._charged(await self._issuing.could_be_admitted(credential))

    async def admitted(self, credential: Credential) -> Caller:
        """A caller that may have a key as well.

        Raises:
            Denied: no admission rule lets it have its own identity.
            Unauthenticated, Exhausted, Unavailable: as `proven`.
        """
        return self._charged(await self._issuing.admitted(credential))

    def _charged(self, caller: Caller) -> Caller:
        renewal = caller.proven_by is ProvenBy.CLIENT_CERT
        identity = caller.identity(self._trust_domain)
        self._quota.take(identity, self._clock.monotonic(), renewal=renewal, issuer=caller.issuer)
        return caller


def stream_rate(issuing: Rate) -> Rate:
    """How fast streams may begin where certificates may be issued so fast."""
    return Rate(per_second=issuing.per_second * PER_ISSUANCE, burst=issuing.burst * PER_ISSUANCE)
