"""What is recorded of a decision: two entries in the ledger, one event and one count."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshca.errors import InvariantBroken, MeshcaError
from meshca.identity.caller import ProvenBy
from meshca.issuance import Wish
from meshca.ledger.record import Result
from tests.fakes.callers import caller
from tests.fakes.issuance_rig import CREDENTIAL, IssuanceRig
from tests.fakes.logs import captured_logs
from tests.fakes.pki import WEB


@pytest.fixture
def rig() -> IssuanceRig:
    """A rig in Istio's mode."""
    return IssuanceRig()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged."""
    with captured_logs() as entries:
        yield entries


async def test_recorded_before_and_after(rig: IssuanceRig) -> None:
    """The ledger holds intent and outcome, with who, how proven, and by which rule."""
    leaf = await rig.issue()
    (intent,) = rig.ledger.intents.values()
    assert intent.serial == f"{leaf.serial_number:x}"
    assert (intent.spiffe_id, intent.proven_by, intent.issuer) == (str(WEB), "jwks", "home")
    assert (intent.namespace, intent.service_account, intent.request_id) == ("shop", "web", "r1")
    assert intent.pod_name
    assert intent.node_name
    assert intent.rule == "own-identity-of-a-pod"
    assert intent.signer == rig.authority.current().issuer.signer_id
    assert rig.ledger.outcomes[intent.serial].result is Result.ISSUED


async def test_renewal_is_recorded_with_its_parent(rig: IssuanceRig) -> None:
    """A renewal names the certificate that proved the caller."""
    rig.chain.caller = caller(proven_by=ProvenBy.CLIENT_CERT, serial="ab12")
    await rig.issue()
    (intent,) = rig.ledger.intents.values()
    assert (intent.proven_by, intent.parent_serial) == ("client_cert", "ab12")


async def test_failed_signature_is_recorded(rig: IssuanceRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent whose signature failed gets a failed outcome, with the reason."""

    def broken(*_: object) -> None:
        raise InvariantBroken("lint", "a rule would have been broken")

    monkeypatch.setattr(rig.authority, "sign", broken)
    with pytest.raises(InvariantBroken):
        await rig.issue()
    (outcome,) = rig.ledger.outcomes.values()
    assert (outcome.result, outcome.reason) == (Result.FAILED, "lint")


async def test_abandoned_call_is_recorded(rig: IssuanceRig, logs: list[Any]) -> None:
    """A call that was cancelled between intent and signature leaves a failed outcome and an audit event."""
    intend, reached = rig.ledger.intend, asyncio.Event()

    async def slow(intent: Any) -> None:
        await intend(intent)
        reached.set()
        await asyncio.Event().wait()

    rig.ledger.intend = slow  # type: ignore[method-assign] # a slow disk
    call = asyncio.create_task(rig.issue())
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (outcome,) = rig.ledger.outcomes.values()
    assert (outcome.result, outcome.reason) == (Result.FAILED, "abandoned")
    assert [(line["result"], line["reason"]) for line in logs] == [("failed", "abandoned")]


@pytest.mark.parametrize(
    ("break_", "result", "slug"),
    [
        (lambda _: None, "issued", ""),
        (lambda rig: setattr(rig.chain, "caller", None), "refused", "no_credential"),
        (lambda rig: setattr(rig.chain, "caller", caller(pod=None)), "denied", "no_rule"),
        (lambda rig: setattr(rig.ledger, "down", True), "failed", "store"),
    ],
    ids=["issued", "refused", "denied", "failed"],
)
async def test_result_and_reason(
    rig: IssuanceRig, logs: list[Any], break_: Callable[[IssuanceRig], None], result: str, slug: str
) -> None:
    """The event names result and reason, under the request id."""
    break_(rig)
    with contextlib.suppress(MeshcaError):
        await rig.issue()
    (line,) = [line for line in logs if line["event"] == "issuance.decided"]
    assert (line["result"], line["reason"], line["request_id"]) == (result, slug, "r1")


async def test_any_exception_is_an_internal_failure(rig: IssuanceRig, logs: list[Any]) -> None:
    """An exception that is not ours is counted and logged as internal, without its text."""

    def broken() -> Wish:
        raise RuntimeError("password=hunter2")

    with pytest.raises(RuntimeError):
        await rig.issuing.issue(CREDENTIAL, broken, "r1")
    assert [(line["result"], line["reason"]) for line in logs] == [("failed", "internal")]
    assert "hunter2" not in str(logs)


async def test_hashes_instead_of_material(rig: IssuanceRig, logs: list[Any]) -> None:
    """What is logged of a CSR and a key are hashes."""
    await rig.issue()
    assert len(logs[-1]["csr_sha256"]) == len(logs[-1]["key_sha256"]) == 64
    assert "BEGIN" not in str(logs)
