"""Who may begin a stream: of an issuer that may speak for it, admitted where a key is made, and not too often."""

from __future__ import annotations

from typing import cast

import pytest

from meshca.admission.decide import check_could_be_granted
from meshca.admission.parse import shipped
from meshca.app.subscribers import PER_ISSUANCE, Subscribers, stream_rate
from meshca.errors import Denied, Exhausted, MeshcaError
from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.spiffe_id import TrustDomain
from meshca.issuance import Issuing
from meshca.quota import Quota, Rate
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock

WEB = caller("shop", proven_by=ProvenBy.CLIENT_CERT)
DOMAIN = TrustDomain("cluster.local")
BURST = 3


class Braked:
    """Proves a caller to which admission grants nothing while it is braked."""

    def __init__(self) -> None:
        self.braked = False
        self.caller = WEB

    async def could_be_admitted(self, _: Credential) -> Caller:
        """As the pipeline, with the shipped rules."""
        check_could_be_granted(shipped(DOMAIN), self.caller, self.caller.identity(DOMAIN))
        return self.caller

    async def admitted(self, _: Credential) -> Caller:
        """As the pipeline."""
        if self.braked:
            raise Denied("refused_by_rule", "braked")
        return self.caller


class Subject:
    """Subscribers of few tokens."""

    def __init__(self) -> None:
        self.clock, self.behind = FakeClock(), Braked()
        rate = Rate(per_second=1.0, burst=BURST)
        self.subscribers = Subscribers(
            issuing=cast("Issuing", self.behind),
            quota=Quota(per_identity=rate, per_namespace=Rate(per_second=100.0, burst=100)),
            trust_domain=DOMAIN,
            clock=self.clock,
        )

    async def until_refused(self) -> tuple[int, MeshcaError]:
        """How many streams begin, and what the next is refused with."""
        for number in range(BURST + 1):
            try:
                await self.subscribers.proven(Credential())
            except MeshcaError as error:
                return number, error
        raise AssertionError("never refused")


async def test_a_braked_workload_still_hears() -> None:
    """Of roots and policies; a key is another matter."""
    subject = Subject()
    subject.behind.braked = True
    assert await subject.subscribers.proven(Credential()) == WEB
    with pytest.raises(Denied):
        await subject.subscribers.admitted(Credential())


async def test_streams_are_charged() -> None:
    """To the identity, whichever kind they are; time gives them back."""
    subject = Subject()
    assert await subject.subscribers.admitted(Credential()) == WEB
    begun, error = await subject.until_refused()
    assert (begun, type(error), error.reason) == (BURST - 1, Exhausted, "identity_quota")
    subject.clock.move(1.0)
    await subject.subscribers.proven(Credential())


async def test_a_denied_stream_costs_nothing() -> None:
    """Admission is asked first."""
    subject = Subject()
    subject.behind.braked = True
    for _ in range(2 * BURST):
        with pytest.raises(Denied):
            await subject.subscribers.admitted(Credential())
    assert (await subject.until_refused())[0] == BURST


async def test_a_cluster_that_is_granted_nothing() -> None:
    """It begins no stream, and takes nothing from home's workload of the same name."""
    subject = Subject()
    subject.behind.caller = caller("shop", issuer="west")
    for _ in range(2 * BURST):
        with pytest.raises(Denied, match="no_rule"):
            await subject.subscribers.proven(Credential())
    subject.behind.caller = WEB
    assert (await subject.until_refused())[0] == BURST


async def test_clusters_share_no_buckets() -> None:
    """Where a rule grants two clusters the same identity, neither keeps the other's streams from beginning."""
    subject = Subject()
    subject.behind.caller = caller("shop", issuer="west", proven_by=ProvenBy.CLIENT_CERT)
    for _ in range(BURST):
        await subject.subscribers.admitted(Credential())
    with pytest.raises(Exhausted):
        await subject.subscribers.admitted(Credential())
    subject.behind.caller = WEB
    assert (await subject.until_refused())[0] == BURST


def test_streams_are_cheaper_than_certificates() -> None:
    """Every agent comes back at once after a reload."""
    assert stream_rate(Rate(per_second=2.0, burst=5)) == Rate(
        per_second=2.0 * PER_ISSUANCE, burst=5 * PER_ISSUANCE
    )
