"""The administrator's service answers from its ports."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca._proto.meshca.admin.v1.admin_pb2_grpc import AdminStub
from meshca.config.admin import AdminConfig, AdminRole
from meshca.ledger.record import Intent, Issuance
from meshca.rpc.admin_messages import issuance_message
from meshca.rpc.status_messages import status_message
from meshca.rpc.status_report import StatusReport
from meshca.wire.status import REASON
from tests.fakes.admin_server import admin_server
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import NOW, intent, issued
from tests.fakes.reports import agent, report


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


class TestOneNamespace:
    """A viewer who may see `shop` and `pay` only."""

    @pytest.fixture
    async def stub(self, ledger: FakeLedger) -> AsyncIterator[Any]:
        """A client of the service."""
        own = os.geteuid()
        viewer = AdminRole(role="viewer", uids=(own,), namespaces=("shop", "pay"))
        config = AdminConfig(uids=(own + 1,), roles=(viewer,))
        serving = admin_server(ledger, config=config, status=several)
        async with serving as path, grpc.aio.insecure_channel(f"unix:{path}") as channel:
            yield AdminStub(channel)

    @pytest.fixture
    async def made(self, ledger: FakeLedger) -> list[Intent]:
        """One record a minute, of three namespaces in turn."""
        spaces = ("shop", "other", "pay", "shop", "other", "pay")
        made = [
            intent(namespace=space, intended_at=NOW + timedelta(minutes=number))
            for number, space in enumerate(spaces)
        ]
        for one in made:
            await ledger.intend(one)
        return made

    async def listed(self, stub: Any, **filters: Any) -> list[str]:
        """Serials of the records that a filter finds."""
        return [one.serial async for one in stub.ListIssuances(admin_pb2.ListIssuancesRequest(**filters))]

    async def test_records_of_other_namespaces_are_left_out(self, stub: Any, made: list[Intent]) -> None:
        """The others come newest first, as many as asked for."""
        expected = [made[5].serial, made[3].serial, made[2].serial, made[0].serial]
        assert await self.listed(stub) == expected
        assert await self.listed(stub, limit=3) == expected[:3]

    async def test_a_namespace_can_be_asked_for(self, stub: Any, made: list[Intent]) -> None:
        """Of one that may not be seen there is nothing."""
        assert await self.listed(stub, namespace="pay") == [made[5].serial, made[2].serial]
        assert await self.listed(stub, namespace="other") == []

    async def test_a_record_of_another_namespace_is_not_found(self, stub: Any, made: list[Intent]) -> None:
        """As if there were none: the answers do not differ."""
        seen = await stub.GetIssuance(admin_pb2.GetIssuanceRequest(serial=made[0].serial))
        hidden = stub.GetIssuance(admin_pb2.GetIssuanceRequest(serial=made[1].serial))
        missing = stub.GetIssuance(admin_pb2.GetIssuanceRequest(serial="ab"))
        assert seen.serial == made[0].serial
        assert await refusal(hidden) == await refusal(missing) == (grpc.StatusCode.NOT_FOUND, "serial")

    async def test_agents_of_other_namespaces_are_counted(self, stub: Any) -> None:
        """Not named."""
        found = await stub.GetStatus(admin_pb2.GetStatusRequest())
        assert ([one.pod for one in found.agents], found.agents_left_out) == (["web-1"], 3)


async def several() -> StatusReport:
    """Agents of two namespaces, and two that were left out already."""
    other = agent(spiffe_id="spiffe://cluster.local/ns/other/sa/x", pod="x-1")
    return report(agents=(agent(), other), agents_left_out=2)
