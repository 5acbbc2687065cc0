"""Tests of meshca.authn.client_cert."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshca.authn.client_cert import Ancestor, ClientCertAuthenticator
from meshca.errors import MeshcaError, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential, ProvenBy
from meshca.identity.service_account import ServiceAccount
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from tests.fakes.callers import NODE, NOW, POD
from tests.fakes.certificates import WEB, FakeLineage, key_sha256, leaf
from tests.fakes.clock import FakeClock

WEEK = timedelta(days=7)
SERIAL = "7a31c5d9"
ANCESTOR = Ancestor(
    identity=SpiffeId.parse(WEB),
    key_sha256=key_sha256(),
    not_after=NOW + timedelta(hours=24),
    issuer="home",
    pod=POD,
    node=NODE,
    token_id="a3b1",
    proven_at=NOW - timedelta(days=3),
    labels={"app": "web"},
)


class Subject:
    """An authenticator with its clock and its records."""

    def __init__(self, ancestor: Ancestor = ANCESTOR) -> None:
        self.clock = FakeClock(NOW)
        self.lineage = FakeLineage({SERIAL: ancestor})
        self.authenticator = ClientCertAuthenticator(
            trust_domain=TrustDomain("cluster.local"),
            lineage=self.lineage,
            clock=self.clock,
            max_lineage_age=WEEK,
        )

    async def prove(self, certificate: bytes | None) -> Caller:
        """Prove a certificate."""
        return await self.authenticator.prove(Credential(peer_certificate=certificate))

    async def failure(self, certificate: bytes | None) -> MeshcaError:
        """The error that proving a certificate raises."""
        with pytest.raises(MeshcaError) as caught:
            await self.prove(certificate)
        return caught.value


async def test_a_valid_certificate_proves_its_holder() -> None:
    """Account, serial and end come from the certificate; everything else is inherited from our record."""
    assert await Subject().prove(leaf()) == Caller(
        account=ServiceAccount(namespace="shop", name="web"),
        proven_by=ProvenBy.CLIENT_CERT,
        issuer="home",
        pod=POD,
        node=NODE,
        token_id="a3b1",
        proven_at=NOW - timedelta(days=3),
        until=NOW + timedelta(hours=24),
        labels={"app": "web"},
        serial=SERIAL,
    )


async def test_a_certificate_that_a_node_proxy_holds() -> None:
    """It proves nobody here: whether its pod is still on the node only the proxy's own token can begin to say."""
    ancestor = replace(ANCESTOR, requested_by="istio-system/ztunnel")
    assert (await Subject(ancestor).failure(leaf())).reason == "held_by_node_proxy"


async def test_no_certificate() -> None:
    """A caller on the token port shows none."""
    assert (await Subject().failure(None)).reason == "no_credential"


REFUSED = {
    "garbage": (b"garbage", "cert_malformed"),
    "a CA": (leaf(ca=True), "cert_profile"),
    "two identities": (leaf(uris=[WEB, WEB + "2"]), "cert_profile"),
    "no SPIFFE ID": (leaf(uris=["https://example.org"]), "cert_uri"),
    "another shape": (leaf(uris=["spiffe://cluster.local/spire/agent"]), "cert_uri"),
    "names outside Kubernetes": (leaf(uris=["spiffe://cluster.local/ns/Shop/sa/web"]), "cert_uri"),
    "another trust domain": (leaf(uris=["spiffe://other/ns/shop/sa/web"]), "cert_trust_domain"),
    "ended": (leaf(end=NOW - timedelta(seconds=1)), "cert_expired"),
    "not begun": (leaf(begin=NOW + timedelta(seconds=1)), "cert_not_yet_valid"),
    "not issued by us": (leaf(serial=0x99), "unknown_serial"),
    "our serial, another identity": (leaf(uris=["spiffe://cluster.local/ns/shop/sa/api"]), "lineage_mismatch"),
    "our serial and identity, another key": (
        leaf(key=ec.generate_private_key(ec.SECP256R1())),
        "lineage_mismatch",
    ),
    "our serial, identity and key, another end": (leaf(end=NOW + timedelta(days=9)), "lineage_mismatch"),
}


@pytest.mark.parametrize(("certificate", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_proves_nobody(certificate: bytes, reason: str) -> None:
    """Each refusal has its reason."""
    error = await Subject().failure(certificate)
    assert (type(error), error.reason) == (Unauthenticated, reason)


async def test_our_serial_and_identity_with_another_key() -> None:
    """Whoever has a CA's key below our roots can forge both, but not what was certified."""
    error = await Subject(replace(ANCESTOR, key_sha256="00" * 32)).failure(leaf())
    assert (type(error), error.reason) == (Unauthenticated, "lineage_mismatch")


async def test_validity_is_checked_at_each_call() -> None:
    """A connection outlives its certificate: what was accepted before is refused later."""
    subject, certificate = Subject(), leaf()
    await subject.prove(certificate)
    subject.clock.move(timedelta(hours=24, seconds=1).total_seconds())
    assert (await subject.failure(certificate)).reason == "cert_expired"


async def test_records_are_not_asked_for_what_is_refused_anyway() -> None:
    """A stranger's certificate costs no look into the store."""
    subject = Subject()
    await subject.failure(leaf(uris=["spiffe://other/ns/shop/sa/web"]))
    assert subject.lineage.asked == []


@pytest.mark.parametrize(
    ("age", "accepted"), [(WEEK, True), (WEEK + timedelta(seconds=1), False)], ids=["a week", "more"]
)
async def test_a_chain_of_renewals_ends(age: timedelta, *, accepted: bool) -> None:
    """A stolen key does not renew for ever: the token that began the chain must not be older than a week."""
    subject = Subject(replace(ANCESTOR, proven_at=NOW - age))
    if accepted:
        assert (await subject.prove(leaf())).proven_at == NOW - age
    else:
        assert (await subject.failure(leaf())).reason == "lineage_too_old"


async def test_an_unbound_chain_stays_unbound() -> None:
    """What no token said about a pod, no renewal says."""
    proven = await Subject(replace(ANCESTOR, pod=None, node=None, token_id="", labels={})).prove(leaf())
    assert (proven.pod, proven.node, proven.token_id, dict(proven.labels)) == (None, None, "", {})


async def test_a_store_that_is_down_is_no_refusal() -> None:
    """When records can not be read, nothing is known against the caller."""
    subject = Subject()
    subject.lineage.down = True
    error = await subject.failure(leaf())
    assert (type(error), error.reason) == (Unavailable, "store")


def test_an_ancestor_has_no_labels_unless_told() -> None:
    """Labels are optional in records."""
    bare = Ancestor(
        identity=ANCESTOR.identity,
        key_sha256=ANCESTOR.key_sha256,
        not_after=NOW,
        issuer="home",
        pod=None,
        node=None,
        token_id="",
        proven_at=NOW,
    )
    assert dict(bare.labels) == {}
