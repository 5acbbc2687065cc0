"""How an xDS stream ends: bad requests, proofs that end, drains, clients that leave."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest

from meshca.config.resource_names import SECRET_TYPE_URL
from meshca.discovery.event import Closed, Pending
from meshca.discovery.source import Shelf
from meshca.errors import Denied, Unavailable
from tests.fakes.xds_client import ADS, SDS, written, xds_stream
from tests.wire.discovery_server import Server, res


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
