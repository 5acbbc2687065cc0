"""xDS over real gRPC streams: what a subscriber gets, and what is told of it."""

from __future__ import annotations

import grpc
import pytest

from meshca.config.resource_names import EXTENSION_TYPE_URL, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Overdue, Pending, Refused, Sent, Subscribed
from meshca.discovery.source import Shelf
from meshca.errors import Unavailable
from tests.fakes.xds_client import ADS, ECDS, SDS, fetch, written, xds_stream
from tests.wire.discovery_server import VARIANTS, Server, res


@VARIANTS
async def test_subscriber_gets_what_exists_and_what_changes(
    server: Server, channel: grpc.aio.Channel, method: str
) -> None:
    """First the present resource, then the changed one, with the version the content has."""
    server.put(res("default", "1"))
    async with xds_stream(channel, method) as stream:
        await stream.ask("default")
        assert list((await stream.answer()).values()) == [b"default 1"]
        assert stream.last.type_url == SECRET_TYPE_URL
        await stream.ack()
        server.put(res("default", "2"))
        assert list((await stream.answer()).values()) == [b"default 2"]


@pytest.mark.parametrize(
    "names", [["default", "ROOTCA"], ["ROOTCA", "default"]], ids=["leaf first", "roots first"]
)
@VARIANTS
async def test_names_come_on_one_stream_or_several(
    server: Server, channel: grpc.aio.Channel, method: str, names: list[str]
) -> None:
    """In any order."""
    server.put(res("default", "1"), res("ROOTCA", "1"))
    async with xds_stream(channel, method) as stream:
        await stream.ask(*names)
        assert set((await stream.answer()).values()) == {b"default 1", b"ROOTCA 1"}
    async with xds_stream(channel, method) as one, xds_stream(channel, method) as other:
        for stream, name in zip((one, other), names, strict=True):
            await stream.ask(name)
            assert list((await stream.answer()).values()) == [f"{name} 1".encode()]


async def test_versions_are_those_of_the_content(server: Server, channel: grpc.aio.Channel) -> None:
    """State of the world in version_info, delta per resource."""
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await stream.answer()
        assert stream.last.version_info == "1"
    async with xds_stream(channel, SDS + "DeltaSecrets") as stream:
        await stream.ask("default")
        await stream.answer()
        assert [(r.name, r.version) for r in stream.last.resources] == [("default", "1")]


@VARIANTS
async def test_observer_hears_of_the_whole_life(server: Server, channel: grpc.aio.Channel, method: str) -> None:
    """Subscription, unknown names, ACK, NACK and the end, with peer and node."""
    server.put(res("default", "1"))
    async with xds_stream(channel, method) as stream:
        await stream.ask("default", "unknown")
        await stream.answer()
        await stream.ack()
        server.put(res("default", "2"))
        await stream.answer()
        await stream.nack("bad pair")
        await stream.answer()
        await stream.call.done_writing()
        await server.until(lambda event: isinstance(event, Closed))
    assert [notice.event for notice in server.notices] == [
        Subscribed(names=frozenset({"default", "unknown"})),
        Pending(names=frozenset({"unknown"})),
        Sent(versions={"default": "1"}),
        Adopted(versions={"default": "1"}),
        Sent(versions={"default": "2"}),
        Refused(versions={"default": "2"}, error="bad pair"),
        Sent(versions={"default": "1"}),
        Closed(names=frozenset({"default", "unknown"})),
    ]
    assert {(notice.node.id, notice.type_url) for notice in server.notices} == {("node-1", SECRET_TYPE_URL)}
    assert len({notice.peer for notice in server.notices}) == 1


@VARIANTS
async def test_refusal_is_repaired_under_a_new_version(
    server: Server, channel: grpc.aio.Channel, method: str
) -> None:
    """After a NACK the last good value comes once more."""
    server.put(res("default", "1"))
    async with xds_stream(channel, method) as stream:
        await stream.ask("default")
        await stream.answer()
        await stream.ack()
        server.put(res("default", "2"))
        await stream.answer()
        await stream.nack()
        assert list((await stream.answer()).values()) == [b"default 1"]


async def test_recovery_reaches_the_other_streams_of_a_client(server: Server, channel: grpc.aio.Channel) -> None:
    """A secret refused on another's account goes out again once that one is good."""
    server.put(res("default", "1"), res("ROOTCA", "1"))
    async with (
        xds_stream(channel, SDS + "StreamSecrets") as leaf,
        xds_stream(channel, SDS + "StreamSecrets") as root,
    ):
        for stream, name in ((leaf, "default"), (root, "ROOTCA")):
            await stream.ask(name)
            await stream.answer()
            await stream.ack()
        server.put(res("default", "2"), res("ROOTCA", "bad"))
        await root.answer()
        await root.nack("bad roots")
        await leaf.answer()
        await leaf.nack("bad roots")
        await leaf.answer()
        await leaf.nack("bad roots")
        await server.until(lambda e: isinstance(e, Refused) and e.versions == {"default": "1"})
        assert list((await root.answer()).values()) == [b"ROOTCA 1"]
        await root.ack()
        assert list((await leaf.answer()).values()) == [b"default 2"]


async def test_client_that_never_answers_is_reported_and_passed(server: Server, channel: grpc.aio.Channel) -> None:
    """Overdue once, and the next update is sent all the same."""
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await stream.answer()
        server.put(res("default", "2"))
        await written(server.streams)
        await server.clock.advance(11)
        assert list((await stream.answer()).values()) == [b"default 2"]
        await server.until(lambda event: event == Overdue(versions={"default": "1"}))


async def test_types_on_one_stream_do_not_wait_for_each_other(server: Server, channel: grpc.aio.Channel) -> None:
    """ADS: an unanswered secret holds up no policy, and the node is remembered."""
    server.put(res("ROOTCA", "1"))
    server.put(res("meshca-authz", "1"), type_url=EXTENSION_TYPE_URL)
    async with xds_stream(channel, ADS + "StreamAggregatedResources") as stream:
        await stream.ask("ROOTCA", type_url=SECRET_TYPE_URL)
        await stream.answer()
        await stream.ask("meshca-authz", type_url=EXTENSION_TYPE_URL)
        assert list((await stream.answer()).values()) == [b"meshca-authz 1"]
        assert stream.last.type_url == EXTENSION_TYPE_URL


async def test_extension_configs_are_served(server: Server, channel: grpc.aio.Channel) -> None:
    """ECDS, streamed and fetched."""
    server.put(res("meshca-authz", "1"), type_url=EXTENSION_TYPE_URL)
    async with xds_stream(channel, ECDS + "StreamExtensionConfigs") as stream:
        await stream.ask("meshca-authz")
        assert list((await stream.answer()).values()) == [b"meshca-authz 1"]
    answer = await fetch(channel, ECDS + "FetchExtensionConfigs", "meshca-authz")
    assert [resource.value for resource in answer.resources] == [b"meshca-authz 1"]


async def test_fetch_of_an_unknown_name_is_not_found(server: Server, channel: grpc.aio.Channel) -> None:
    """Also when another name is known; and a fetch of nothing."""
    server.put(res("default", "1"))
    for names in (["default", "unknown"], []):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await fetch(channel, SDS + "FetchSecrets", *names)
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def test_source_makes_things_ready_before_they_are_looked_up(
    server: Server, channel: grpc.aio.Channel
) -> None:
    """What a source makes on demand is in the first answer; an error of it ends the stream."""

    class Maker(Shelf):
        async def ready(self, type_url: str, names: object) -> None:
            if "impossible" in str(names):
                raise Unavailable("no_signer", "private")
            self.put(type_url, [res("default", "made")])

    server.shelf = Maker()
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        assert list((await stream.answer()).values()) == [b"default made"]
        await stream.ack("default", "impossible")
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAVAILABLE, "no_signer")
    assert all(not isinstance(notice.event, Pending) for notice in server.notices)
