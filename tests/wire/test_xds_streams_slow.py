"""Clients of an xDS stream that read slowly, or not at all: they hold up only themselves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from meshca.config.resource_names import SECRET_TYPE_URL
from meshca.discovery.event import Closed, Overdue, Resource, Sent, Subscribed
from meshca.errors import Unavailable
from meshca.wire.xds_messages import DELTA
from meshca.wire.xds_streams import Context
from tests.fakes.xds_client import SDS, xds_stream
from tests.wire.discovery_server import VARIANTS, Server, res


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


class Reluctant(Line):
    """A line whose write in flight takes a turn of the loop to give up."""

    async def write(self, message: bytes) -> None:
        """As the line, with an end that is not at once."""
        try:
            await super().write(message)
        finally:
            await asyncio.sleep(0)


async def test_end_is_told_when_the_call_is_cancelled_twice() -> None:
    """Nobody counts a stream as open that ended while it was written to, however it came to its end."""
    line = Reluctant()
    server, running = await connected(line)
    server.put(res("default", "2"))
    await line.blocked.wait()
    server.streams.end_all(Unavailable("ended", ""))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [notice.event for notice in server.notices][-1] == Closed(names=frozenset({"default"}))
    assert len(server.streams) == 0
