"""xDS over real gRPC streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from meshca.config.resource_names import EXTENSION_TYPE_URL, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Resource, Sent, Subscribed
from meshca.discovery.source import Shelf
from meshca.errors import Denied, Unavailable
from meshca.wire.interceptors import Guarded
from meshca.wire.xds_messages import DELTA
from meshca.wire.xds_services import AGGREGATED, EXTENSIONS, SECRETS, add_service
from meshca.wire.xds_streams import Context, Notice, Streams, Terms
from tests.fakes.clock import FakeClock
from tests.fakes.xds_client import ADS, ECDS, SDS, fetch, written, xds_stream

VARIANTS = pytest.mark.parametrize("method", [SDS + "StreamSecrets", SDS + "DeltaSecrets"], ids=["sotw", "delta"])


def res(name: str, version: str) -> Resource:
    """A resource whose body says what it is."""
    return Resource(name=name, version=version, body=f"{name} {version}".encode())


@dataclass
class Server:
    """A CA's or agent's discovery side, and what it was told."""

    clock: FakeClock = field(default_factory=FakeClock)
    shelf: Shelf = field(default_factory=Shelf)
    notices: list[Notice] = field(default_factory=list)
    node_required: bool = True
    refuse: Exception | None = None
    lifetime: timedelta | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.streams = Streams(self.clock, answer_timeout=10)

    async def admit(self, _context: Context) -> Terms:
        """Everybody is welcome, unless the test says otherwise."""
        if self.refuse is not None:
            raise self.refuse
        until = None if self.lifetime is None else self.clock.now() + self.lifetime
        return Terms(source=self.shelf, observer=self.observe, until=until, node_required=self.node_required)

    def observe(self, notice: Notice) -> None:
        """Remember."""
        self.notices.append(notice)
        self.told.set()

    def put(self, *resources: Resource, type_url: str = SECRET_TYPE_URL) -> None:
        """Publish."""
        self.shelf.put(type_url, resources)

    async def until(self, wanted: Callable[[Event], bool]) -> Notice:
        """The first notice of such an event, waiting for it."""
        async with asyncio.timeout(10):
            while True:
                for notice in self.notices:
                    if wanted(notice.event):
                        return notice
                self.told.clear()
                await self.told.wait()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A running server."""
    server = Server()
    guarded = Guarded(running := grpc.aio.server())
    for service in (SECRETS, EXTENSIONS, AGGREGATED):
        add_service(guarded, service, server.streams, server.admit)
    running.add_insecure_port(f"unix:{tmp_path}/s")
    await running.start()
    sweeper = asyncio.create_task(server.streams.run())
    yield server
    sweeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeper
    await running.stop(0)


@pytest.fixture
async def channel(server: Server, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to it."""
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        yield channel


@VARIANTS
async def test_client_that_reads_nothing_is_let_go(server: Server, channel: grpc.aio.Channel, method: str) -> None:
    """Once its stream is full nothing reaches it, so nothing may wait for it; it is told when it reads again."""
    async with xds_stream(channel, method) as stream:
        await stream.ask("default")
        for number in range(30):
            server.notices.clear()
            server.put(Resource(name="default", version=str(number), body=bytes(2**20)))
            await server.until(lambda event: isinstance(event, Sent | Closed))
            await asyncio.sleep(0.05)  # for gRPC to take it, if it does
            await server.clock.advance(11)
            if any(isinstance(notice.event, Closed) for notice in server.notices):
                break
        else:
            raise AssertionError("it is waited for as ever")
        assert any(isinstance(notice.event, Overdue) for notice in server.notices)
        assert number > 0  # what fits is sent, read or not
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAVAILABLE, "not_reading")


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


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"type_url": "type.googleapis.com/evil"}, SECRET_TYPE_URL, id="wrong type"),
        pytest.param({"resource_names": ["x" * 3000]}, "resource names", id="long name"),
        pytest.param({"resource_names": [""]}, "resource names", id="empty name"),
        pytest.param({"resource_names": [f"n{i}" for i in range(65)]}, "resource names", id="too many names"),
        pytest.param({"version_info": "x" * 600}, "nonce and version", id="long version"),
        pytest.param({"node": {"id": "x" * 600}}, "node id", id="long node id"),
    ],
)
async def test_bad_request_says_what_is_wrong(
    server: Server, channel: grpc.aio.Channel, fields: dict[str, object], says: str
) -> None:
    """InvalidArgument, in our own words."""
    node_id = "" if "node" in fields else "node-1"
    async with xds_stream(channel, SDS + "StreamSecrets", node_id=node_id) as stream:
        await stream.send(**fields)  # type: ignore[arg-type]  # rows of different fields
        code, details, _ = await stream.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in details
    assert "evil" not in details


async def test_message_that_is_no_protobuf_is_refused(server: Server, channel: grpc.aio.Channel) -> None:
    """InvalidArgument, not a traceback."""
    call: Any = channel.stream_stream(SDS + "StreamSecrets")(timeout=10)
    await call.write(b"\xff\xff\xff")
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_aggregated_stream_needs_a_type(server: Server, channel: grpc.aio.Channel) -> None:
    """With several types an empty one says nothing."""
    async with xds_stream(channel, ADS + "StreamAggregatedResources") as stream:
        await stream.ask("ROOTCA")
        assert (await stream.status())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_missing_node_is_refused_where_it_is_required(server: Server, channel: grpc.aio.Channel) -> None:
    """And accepted where it is not."""
    async with xds_stream(channel, SDS + "StreamSecrets", node_id="") as stream:
        await stream.ask("default")
        code, details, _ = await stream.status()
    assert (code, "node" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    server.node_required = False
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets", node_id="") as stream:
        await stream.ask("default")
        assert list((await stream.answer()).values()) == [b"default 1"]


async def test_caller_that_is_not_admitted_gets_the_reason(server: Server, channel: grpc.aio.Channel) -> None:
    """What admission raises ends the stream."""
    server.refuse = Denied("no_rule", "private")
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        code, details, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "no_rule")
    assert "private" not in details


async def test_stream_ends_when_the_proof_does(server: Server, channel: grpc.aio.Channel) -> None:
    """Unavailable with its reason, so that the client comes back and proves itself again."""
    server.lifetime = timedelta(seconds=60)
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await stream.answer()
        await written(server.streams)
        await server.clock.advance(59)
        assert len(server.streams) == 1
        await server.clock.advance(2)
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAVAILABLE, "proof_ended")
    assert len(server.streams) == 0


async def test_proof_that_has_ended_begins_no_stream(server: Server, channel: grpc.aio.Channel) -> None:
    """Within the leeway of clocks a token is good for a call, not for a stream: it would come back at once."""
    server.lifetime = timedelta(0)
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        code, _, trailers = await stream.status()
    assert (code, trailers["meshca-reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "proof_ended")
    assert server.notices == []


async def test_drain_ends_all_streams_and_admits_no_more(server: Server, channel: grpc.aio.Channel) -> None:
    """Those that exist and those that come later."""
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await server.until(lambda event: isinstance(event, Pending))
        server.streams.end_all(Unavailable("draining", "the server stops"))
        assert (await stream.status())[2]["meshca-reason"] == "draining"
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        assert (await stream.status())[2]["meshca-reason"] == "draining"


async def test_streams_of_a_source_can_be_ended(server: Server, channel: grpc.aio.Channel) -> None:
    """All of one source, and no others."""
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await server.until(lambda event: isinstance(event, Pending))
        server.streams.end_source(Shelf(), Unavailable("gone", "gone"))
        server.streams.end_source(server.shelf, Unavailable("told", "told"))
        assert (await stream.status())[2]["meshca-reason"] == "told"


async def test_client_that_leaves_is_forgotten(server: Server, channel: grpc.aio.Channel) -> None:
    """A cancelled stream leaves nothing behind."""
    server.put(res("default", "1"))
    async with xds_stream(channel, SDS + "StreamSecrets") as stream:
        await stream.ask("default")
        await stream.answer()
    await server.until(lambda event: isinstance(event, Closed))
    server.put(res("default", "2"))
    assert len(server.streams) == 0


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


async def test_slow_reader_holds_up_only_itself(server: Server, channel: grpc.aio.Channel) -> None:
    """A client that does not read is overtaken by nothing: it gets the newest value when it reads in time."""
    big = b"x" * (1 << 20)
    async with (
        xds_stream(channel, SDS + "StreamSecrets") as slow,
        xds_stream(channel, SDS + "StreamSecrets") as quick,
    ):
        server.put(Resource(name="default", version="0", body=big))
        for stream in (slow, quick):
            await stream.ask("default")
        await quick.answer()
        for version in (1, 2):
            await quick.ack()
            server.put(Resource(name="default", version=str(version), body=big + b"%d" % version))
            assert next(iter((await quick.answer()).values())).endswith(b"%d" % version)
            await asyncio.sleep(0.05)  # for gRPC to take what it takes of the other
            await server.clock.advance(11)
        last = b""
        while not last.endswith(b"x2"):
            last = next(iter((await slow.answer()).values()))
            await slow.ack()


class Line:
    """A servicer context whose writes a test controls."""

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)
        self.writes = 0
        self.broken: Exception | None = None
        self.blocked = asyncio.Event()

    def peer(self) -> str:
        """One client."""
        return "peer"

    async def read(self) -> Any:
        """What the test prepared, then nothing."""
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def write(self, _message: bytes) -> None:
        """The first succeeds; later ones fail, or never finish."""
        self.writes += 1
        if self.writes == 1:
            return
        if self.broken is not None:
            raise self.broken
        self.blocked.set()
        await asyncio.Event().wait()


async def connected(line: Line) -> tuple[Server, asyncio.Task[None]]:
    """A stream over it that has had its first answer and acknowledged it."""
    server = Server()
    server.put(res("default", "1"))
    terms = await server.admit(cast("Context", line))
    message = discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=["default"], node={"id": "n"})
    line.messages.append(message)
    running = asyncio.create_task(server.streams.serve(cast("Context", line), DELTA, {SECRET_TYPE_URL}, terms))
    await server.until(lambda event: isinstance(event, Subscribed))
    await server.clock.advance(11)
    for stream in server.streams._all():
        stream.tick(server.clock.monotonic(), server.clock.now())
    return server, running


async def test_stream_that_cannot_be_written_to_ends() -> None:
    """With a reason, and no error of the writer is lost."""
    line = Line()
    server, running = await connected(line)
    line.broken = RuntimeError("the transport is gone")
    server.put(res("default", "2"))
    with pytest.raises(Unavailable, match="stream_broken"):
        await running
    assert len(server.streams) == 0


async def test_writer_does_not_outlive_its_stream() -> None:
    """A write that waits for a slow client is cancelled with the stream; ending twice changes nothing."""
    line = Line()
    server, running = await connected(line)
    server.put(res("default", "2"))
    await line.blocked.wait()
    server.put(res("default", "3"))
    (stream,) = server.streams._all()
    server.streams.end_all(Unavailable("first", ""))
    server.streams.end_all(Unavailable("second", ""))
    server.put(res("default", "4"))
    with pytest.raises(Unavailable, match="first"):
        await running
    stream.end(Unavailable("late", ""))
    assert (line.writes, len(asyncio.all_tasks())) == (2, 1)


async def test_cancelled_stream_is_cancelled() -> None:
    """A client that goes is no error of ours."""
    _, running = await connected(Line())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
