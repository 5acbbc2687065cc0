"""The administrator's service answers from its ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from meshca._proto.meshca.v1 import admin_pb2
from meshca._proto.meshca.v1.admin_pb2_grpc import AdminStub
from meshca.ledger.record import Issuance
from meshca.rpc.admin_messages import issuance_message
from meshca.rpc.status_messages import status_message
from meshca.wire.status import REASON
from tests.fakes.admin_server import admin_server
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import NOW, intent, issued
from tests.fakes.reports import report


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger."""
    return FakeLedger(FakeClock(NOW))


@pytest.fixture
async def stub(ledger: FakeLedger) -> AsyncIterator[Any]:
    """A client of the service."""
    async with admin_server(ledger) as path, grpc.aio.insecure_channel(f"unix:{path}") as channel:
        yield AdminStub(channel)


async def refusal(call: Any) -> tuple[grpc.StatusCode, object]:
    """Code and reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read() if hasattr(call, "read") else await call
    return caught.value.code(), dict(caught.value.trailing_metadata() or ()).get(REASON)


async def test_status_is_what_the_server_says(stub: Any) -> None:
    """As a message."""
    assert await stub.GetStatus(admin_pb2.GetStatusRequest()) == status_message(report())


async def test_records_are_streamed_newest_first(stub: Any, ledger: FakeLedger) -> None:
    """Those that the filters ask for."""
    made = [intent(namespace=namespace) for namespace in ("shop", "other", "shop")]
    for one in made:
        await ledger.intend(one)
    request = admin_pb2.ListIssuancesRequest(namespace="shop")
    found = [message.serial async for message in stub.ListIssuances(request)]
    assert found == [made[2].serial, made[0].serial]


async def test_one_record(stub: Any, ledger: FakeLedger) -> None:
    """With its outcome."""
    one = intent()
    await ledger.intend(one)
    ledger.finish(issued(one))
    found = await stub.GetIssuance(admin_pb2.GetIssuanceRequest(serial=one.serial))
    assert found == issuance_message(Issuance(intent=one, outcome=issued(one)))


async def test_an_unknown_serial_is_not_found(stub: Any) -> None:
    """NOT_FOUND, not an empty record."""
    call = stub.GetIssuance(admin_pb2.GetIssuanceRequest(serial="ab"))
    assert await refusal(call) == (grpc.StatusCode.NOT_FOUND, "serial")


async def test_a_bad_filter_is_refused(stub: Any) -> None:
    """INVALID_ARGUMENT."""
    call = stub.ListIssuances(admin_pb2.ListIssuancesRequest(result="good"))
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "result")


@pytest.mark.parametrize("method", ["ListIssuances", "GetIssuance"])
async def test_a_store_that_is_down_is_unavailable(stub: Any, ledger: FakeLedger, method: str) -> None:
    """UNAVAILABLE: try again later."""
    ledger.down = True
    request = getattr(admin_pb2, f"{method}Request")()
    assert await refusal(getattr(stub, method)(request)) == (grpc.StatusCode.UNAVAILABLE, "store")
