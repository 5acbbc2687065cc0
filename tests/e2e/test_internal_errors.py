"""Faults of ours through the real service and pipeline: INTERNAL with a request id, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import fields, replace
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import (
    IstioCertificateServiceStub,
    add_IstioCertificateServiceServicer_to_server,
)
from meshca.admission.parse import shipped
from meshca.authority.serials import Serials
from meshca.authority.signing import Authority
from meshca.authority.slot import Slot
from meshca.errors import Unavailable
from meshca.identity.spiffe_id import SpiffeId
from meshca.issuance import Issuing
from meshca.ledger.record import Result
from meshca.quota import Quota, Rate
from meshca.rpc.istio_ca import IstioCa
from meshca.svid.draft import Draft
from meshca.svid.template import Template
from meshca.svid.wanted import Wanted
from meshca.wire.interceptors import Guarded
from tests.fakes.authenticator import FakeAuthenticator
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.pki import TRUST_DOMAIN, good_slot
from tests.fakes.profiles import PROFILE
from tests.real.dev_server import Key, reason, refused

CODE = grpc.StatusCode
PRIVATE = "private words"


class Rig:
    """The service over real gRPC; only clock, proof and ledger are fakes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.authority = Authority(Serials(5), PROFILE)
        self.ledger = FakeLedger(self.clock)
        rate = Rate(per_second=1000.0, burst=1000)
        self.issuing = Issuing(
            chain=FakeAuthenticator(always=caller()),
            rules=shipped(TRUST_DOMAIN),
            profile=PROFILE,
            strict=False,
            authority=self.authority,
            ledger=self.ledger,
            quota=Quota(per_identity=rate, per_namespace=rate),
            clock=self.clock,
        )
        self.port = 0

    async def create(self) -> Any:
        """One call."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub: Any = IstioCertificateServiceStub(channel)
            return await stub.CreateCertificate(IstioCertificateRequest(csr=Key().csr), timeout=20)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A service with a good signer."""
    rig, server = Rig(), grpc.aio.server()
    registry = cast("grpc.aio.Server", Guarded(server))
    add_IstioCertificateServiceServicer_to_server(IstioCa(rig.issuing), registry)
    rig.port = server.add_insecure_port("127.0.0.1:0")
    rig.authority.replace(good_slot())
    await server.start()
    yield rig
    await server.stop(None)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    with captured_logs() as lines:
        yield lines


async def test_issued(rig: Rig) -> None:
    """Without a fault the rig issues: the tests below differ in one thing each."""
    assert len((await rig.create()).cert_chain) == 3


def broken(*_args: object, **_kwargs: object) -> Any:
    """A fault of a library or of ours."""
    raise RuntimeError(PRIVATE)


class Astray(Template):
    """A template that fills in somebody else."""

    def fill(self, wanted: Wanted, identity: SpiffeId) -> bytes:
        """For another workload than the one that was granted."""
        return Template.fill(self, wanted, SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments"))


def astray(slot: Slot) -> Slot:
    """The same signer, whose templates go astray."""
    templates = {
        kind: Astray(**{each.name: getattr(template, each.name) for each in fields(template)})
        for kind, template in slot.templates.items()
    }
    return replace(slot, templates=templates)


class TestInternal:
    """A broken invariant, wherever it breaks."""

    async def test_draft_for_somebody_else(self, rig: Rig, logs: list[Any]) -> None:
        """A draft that breaks a rule is not signed, and not even written down."""
        rig.authority.replace(astray(good_slot()))
        await self.check(rig, logs, "lint")
        assert rig.ledger.intents == {}

    async def test_changed_between_lint_and_signature(
        self, rig: Rig, logs: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is signed and is not what was linted is not given out; the ledger has both entries."""
        draft = rig.authority.draft

        def changed(*args: Any) -> Draft:
            drafted = draft(*args)
            drafted.tbs = drafted.tbs.replace(b"/sa/web", b"/sa/job")
            return drafted

        monkeypatch.setattr(rig.authority, "draft", changed)
        await self.check(rig, logs, "signed_changed")
        (outcome,) = rig.ledger.outcomes.values()
        assert (outcome.result, outcome.reason) == (Result.FAILED, "signed_changed")

    async def test_serial_used_twice(self, rig: Rig, logs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """A serial that the ledger knows already is not signed again."""
        monkeypatch.setattr(Serials, "draw", lambda _: 1 << 130)
        await rig.create()
        logs.clear()
        await self.check(rig, logs, "serial_reused")

    async def test_fault_without_a_name(self, rig: Rig, logs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception that nobody expected is told no other way."""
        monkeypatch.setattr(rig.authority, "draft", broken)
        await self.check(rig, logs, "internal")

    async def check(self, rig: Rig, logs: list[Any], slug: str) -> None:
        """Nothing but the request id is told; the log has the rest."""
        error = await refused(rig.create())
        trailers = {key: value for key, value in error.trailing_metadata() or () if key.startswith("meshca")}
        (decided,) = [line for line in logs if line["event"] == "issuance.decided"]
        assert error.code() is CODE.INTERNAL
        assert trailers == {"meshca-request-id": decided["request_id"]}
        assert error.details() == f"internal error (request_id={decided['request_id']})"
        assert PRIVATE not in (error.debug_error_string() or "")
        assert (decided["result"], decided["reason"]) == ("failed", slug)


async def test_no_signer(rig: Rig) -> None:
    """Before the first signer everything is Unavailable, which a client may repeat; nothing is written down."""
    rig.authority._slot = None
    error = await refused(rig.create())
    assert (error.code(), reason(error)) == (CODE.UNAVAILABLE, "no_signer")
    assert (error.details() or "").startswith(Unavailable.public)
    assert rig.ledger.intents == {}
