"""ADS for agents, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import grpc
import pytest
from envoy.config.core.v3 import base_pb2

from meshca._proto.meshca.v1.order_pb2 import RenewalOrder as OrderMessage
from meshca.authority.adoption import Grade, Kind
from meshca.authz.model import PolicySet
from meshca.config.resource_names import (
    AUTHZ,
    EXTENSION_TYPE_URL,
    ORDER,
    ORDER_TYPE_URL,
    ROOTCA,
    SECRET_TYPE_URL,
)
from meshca.delivery import Delivery
from meshca.discovery.order import RenewalOrder
from meshca.discovery.resources import TrustBundle
from meshca.errors import Unauthenticated
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import TrustDomain
from meshca.rpc.adoptions import Adoptions
from meshca.rpc.discovery import Discovery, workload_of
from meshca.wire.interceptors import Guarded
from meshca.wire.node import Report, write_report
from meshca.wire.xds_streams import Streams
from tests.fakes.adoption import RecordedAdoptions
from tests.fakes.callers import caller
from tests.fakes.clock import FakeClock
from tests.fakes.xds_client import ADS, XdsStream, written, xds_stream

DOMAIN = TrustDomain("cluster.local")
METHOD = ADS + "StreamAggregatedResources"
TOKEN = (("authorization", "Bearer good"),)


class Ca:
    """A CA's discovery side with everything behind it but the authenticators."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.delivery = Delivery(self.clock, lambda policies, workload: f"{policies} {workload}".encode())
        self.store = RecordedAdoptions()
        self.streams = Streams(self.clock)
        self.caller = caller()

    async def prove(self, credential: Credential) -> Caller:
        """One token is good."""
        if credential.unverified_token is None or credential.unverified_token.reveal() != "good":
            raise Unauthenticated("token_signature", "private")
        return self.caller

    def discovery(self) -> Discovery:
        """The service."""
        adoptions = Adoptions(self.store, DOMAIN, self.clock, "worker-1")
        return Discovery(prove=self.prove, delivery=self.delivery, adoptions=adoptions, trust_domain=DOMAIN)


@pytest.fixture
def ca() -> Ca:
    """Nothing published yet."""
    return Ca()


@pytest.fixture
async def channel(ca: Ca, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    server = grpc.aio.server()
    ca.discovery().add_to(Guarded(server), ca.streams)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel
    await server.stop(0)


async def adopt(stream: XdsStream, name: str, report: Report) -> None:
    """Acknowledge as an agent does: with its report in every message."""
    await stream.ack(name, node=base_pb2.Node(id="web-1", metadata=write_report(report)))


async def test_agent_gets_roots_and_its_policies(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Both on one stream, then what changes."""
    ca.delivery.publish_roots(TrustBundle(pem="root a"))
    await ca.delivery.publish_policies(PolicySet())
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
        assert b"root a" in (await stream.answer())["0"]
        await stream.ack()
        await stream.ask(AUTHZ, type_url=EXTENSION_TYPE_URL)
        assert b"namespace='shop'" in (await stream.answer())["0"]
        await stream.ack()
        ca.delivery.publish_roots(TrustBundle(pem="root b"))
        assert b"root b" in (await stream.answer())["0"]


async def test_an_agent_that_asks_gets_orders_after_roots(ca: Ca, channel: grpc.aio.Channel) -> None:
    """At first one that orders nothing; then what is published, in the order in which it is."""
    ca.delivery.publish_roots(TrustBundle(pem="root a"))
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(ORDER, type_url=ORDER_TYPE_URL)
        assert list(OrderMessage.FromString((await stream.answer())["0"]).signers) == []
        await stream.ack()
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
        await stream.answer()
        await stream.ack()
        await heard(ca, 3)
        ca.delivery.publish_roots(TrustBundle(pem="root a+b"))
        ca.delivery.publish_order(RenewalOrder(signers=frozenset({"ab" * 32}), begun_at=ca.clock.now()))
        assert b"root a+b" in (await stream.answer())["0"]
        assert list(OrderMessage.FromString((await stream.answer())["0"]).signers) == ["ab" * 32]


async def test_nothing_published_is_nothing_sent(ca: Ca, channel: grpc.aio.Channel) -> None:
    """The name stays pending, and is served once it exists."""
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
        await heard(ca, 1)
        ca.delivery.publish_roots(TrustBundle(pem="root a"))
        assert b"root a" in (await stream.answer())["0"]


async def test_what_an_agent_says_is_recorded(ca: Ca, channel: grpc.aio.Channel) -> None:
    """Sent, then adopted on the word it gives, then gone."""
    ca.delivery.publish_roots(TrustBundle(pem="root a"))
    async with xds_stream(channel, METHOD, metadata=TOKEN, node_id="web-1") as stream:
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL, version_info="old")
        await stream.answer()
        record = ca.store.last(Kind.ROOTS)
        assert (record.node_id, record.adopted_version, record.grade) == ("web-1", "old", Grade.NONE)
        assert record.sent_version == ca.delivery.versions.roots
        said = len(ca.store.records)
        await adopt(stream, ROOTCA, Report(grade="envoy", pending_pids=(7,)))
        await heard(ca, said + 1)
        record = ca.store.last(Kind.ROOTS)
        assert (record.adopted_version, record.grade) == (ca.delivery.versions.roots, Grade.ENVOY)
        assert record.pending_pids == (7,)
        await stream.call.done_writing()
        await stream.status()
    assert ca.store.ended == [("worker-1", record.stream)]


async def heard(ca: Ca, count: int) -> None:
    """Wait until so many records were made."""
    async with asyncio.timeout(10):
        while len(ca.store.records) < count:  # noqa: ASYNC110 - the fake store has no event
            await asyncio.sleep(0)


async def test_caller_that_proves_nothing_is_refused(ca: Ca, channel: grpc.aio.Channel) -> None:
    """By the fixed sentence."""
    async with xds_stream(channel, METHOD) as stream:
        code, details, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "token_signature")
    assert "private" not in details


async def test_stream_ends_with_the_proof(ca: Ca, channel: grpc.aio.Channel) -> None:
    """When the certificate or token that was shown ends."""
    ca.caller = replace(ca.caller, until=ca.clock.now() + timedelta(seconds=60))
    sweeping = asyncio.create_task(ca.streams.run())
    async with xds_stream(channel, METHOD, metadata=TOKEN) as stream:
        await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
        await heard(ca, 1)
        await written(ca.streams)
        await ca.clock.advance(61)
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAVAILABLE, "proof_ended")
    sweeping.cancel()


def test_workload_is_made_of_proven_data() -> None:
    """Namespace and labels of the proof."""
    proven = replace(caller("a"), labels=MappingProxyType({"app": "x"}))
    workload = workload_of(proven, DOMAIN)
    assert (workload.namespace, dict(workload.labels), workload.trust_domain) == ("a", {"app": "x"}, DOMAIN)
