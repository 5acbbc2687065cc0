"""ADS for agents: roots and policies for proven callers, acknowledged when they are in force.

Decides nothing about content: `delivery` knows what a subscriber should hold. A subscriber is known by its
proof only; the node that it names itself is a label.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from meshca.authz.model import Workload
from meshca.delivery import Delivery
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import TrustDomain
from meshca.rpc.adoptions import AGENTS, Adoptions
from meshca.wire.credentials import read_credential
from meshca.wire.xds_services import AGGREGATED, Registry, add_service
from meshca.wire.xds_streams import Context, Streams, Terms

Prove = Callable[[Credential], Awaitable[Caller]]


class Discovery:
    """Admits agents to `envoy.service.discovery.v3.AggregatedDiscoveryService`.

    Args:
        prove: proves callers, and asks whether their issuer may speak for them; a brake has no say here.
        delivery: what they should hold.
        adoptions: hears what they do with it.
        trust_domain: of the workloads.
    """

    def __init__(
        self, *, prove: Prove, delivery: Delivery, adoptions: Adoptions, trust_domain: TrustDomain
    ) -> None:
        self._prove = prove
        self._delivery = delivery
        self._adoptions = adoptions
        self._trust_domain = trust_domain

    async def admit(self, context: Context) -> Terms:
        """The terms for one stream; it ends when the proof does.

        Raises:
            Unauthenticated: the caller could not be proven.
            Exhausted: it began too many streams.
            Unavailable: that could not be decided now.
        """
        caller = await self._prove(read_credential(context))
        return Terms(
            source=self._delivery.source(workload_of(caller, self._trust_domain)),
            observer=self._adoptions.observer(caller, AGENTS),
            until=caller.until,
        )

    def add_to(self, server: Registry, streams: Streams) -> None:
        """Serve."""
        add_service(server, AGGREGATED, streams, self.admit)


def workload_of(caller: Caller, trust_domain: TrustDomain) -> Workload:
    """The workload that policies are chosen for: from proven data only."""
    return Workload(namespace=caller.account.namespace, trust_domain=trust_domain, labels=caller.labels)
