"""What a renewal inherits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.authn.client_cert import Ancestor
from meshca.errors import Unauthenticated, Unavailable
from meshca.identity.caller import BoundObject
from meshca.identity.spiffe_id import SpiffeId
from meshca.store.lineage import LedgerLineage
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import NOW, failed, intent, issued


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger."""
    return FakeLedger(FakeClock(NOW))


async def test_everything_that_was_proven_is_inherited(ledger: FakeLedger) -> None:
    """From the intent of that serial."""
    one = intent()
    await ledger.intend(one)
    ledger.finish(issued(one))
    assert await LedgerLineage(ledger).of(one.serial) == Ancestor(
        identity=SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web"),
        key_sha256="aa" * 32,
        not_after=NOW + timedelta(hours=24),
        issuer="dev",
        pod=BoundObject(name="web-1", uid="pod-uid-1"),
        node=BoundObject(name="node-1", uid="node-uid-1"),
        token_id="token-1",
        proven_at=NOW,
        labels={"app": "web"},
    )


async def test_who_holds_the_key_is_known(ledger: FakeLedger) -> None:
    """A certificate that a node proxy asked for says so."""
    one = intent(requested_by="istio-system/ztunnel")
    await ledger.intend(one)
    assert (await LedgerLineage(ledger).of(one.serial)).requested_by == "istio-system/ztunnel"


async def test_an_unbound_proof_stays_unbound(ledger: FakeLedger) -> None:
    """No pod and no node are made up."""
    one = intent(pod_name="", pod_uid="", node_name="", node_uid="")
    await ledger.intend(one)
    ancestor = await LedgerLineage(ledger).of(one.serial)
    assert (ancestor.pod, ancestor.node) == (None, None)


async def test_an_unknown_serial_is_refused(ledger: FakeLedger) -> None:
    """We did not issue it, or forgot it."""
    with pytest.raises(Unauthenticated) as caught:
        await LedgerLineage(ledger).of("abc")
    assert caught.value.reason == "unknown_serial"


async def test_a_failed_issuance_proves_nobody(ledger: FakeLedger) -> None:
    """Nobody was given that certificate."""
    one = intent()
    await ledger.intend(one)
    ledger.finish(failed(one))
    with pytest.raises(Unauthenticated) as caught:
        await LedgerLineage(ledger).of(one.serial)
    assert caught.value.reason == "unknown_serial"


async def test_a_record_without_outcome_counts_but_is_asked_for_again(ledger: FakeLedger) -> None:
    """Its outcome may still come, and be a failure."""
    one = intent()
    await ledger.intend(one)
    lineage = LedgerLineage(ledger)
    await lineage.of(one.serial)
    ledger.finish(failed(one))
    with pytest.raises(Unauthenticated):
        await lineage.of(one.serial)


async def test_an_issued_record_is_remembered(ledger: FakeLedger) -> None:
    """A store that is down does not keep it from renewing."""
    one = intent()
    await ledger.intend(one)
    ledger.finish(issued(one))
    lineage = LedgerLineage(ledger)
    first = await lineage.of(one.serial)
    ledger.down = True
    assert await lineage.of(one.serial) is first


async def test_what_was_not_asked_for_longest_is_forgotten_first(ledger: FakeLedger) -> None:
    """Memory is bounded."""
    made = [intent() for _ in range(3)]
    for one in made:
        await ledger.intend(one)
        ledger.finish(issued(one))
    lineage = LedgerLineage(ledger, remembered=2)
    for asked in (made[0], made[1], made[0], made[2]):
        await lineage.of(asked.serial)
    ledger.down = True
    await lineage.of(made[0].serial)
    with pytest.raises(Unavailable):
        await lineage.of(made[1].serial)


async def test_a_certificate_of_no_workload_proves_nobody(ledger: FakeLedger) -> None:
    """Such as the server's own."""
    one = intent(spiffe_id="spiffe://cluster.local")
    await ledger.intend(one)
    with pytest.raises(Unauthenticated) as caught:
        await LedgerLineage(ledger).of(one.serial)
    assert caught.value.reason == "unknown_serial"
