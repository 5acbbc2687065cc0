"""What a stranger may cost: no token, one connection, everything that HTTP/2 lets it leave unfinished.

And what a workload may that is proven.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshca.config.resource_names import SECRET_TYPE_URL
from meshca.wire.tls import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, MAX_STREAMS
from tests.fakes.xds_client import ADS
from tests.real.dev_server import Server, running_server
from tests.real.raw_http2 import EMPTY, HEADERS, NEWEST, RST_STREAM, http2, literal

CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
# A connection's 100 streams of the largest size, and what the allocator keeps beside them: measured 31 MiB.
MOST_MIB = 64
ENTRY = len("a") + len("b") + 32  # bytes that an entry counts (RFC 7541 section 4.1)
STREAMS = [1 + 2 * number for number in range(MAX_STREAMS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker."""
    with running_server(tmp_path_factory.mktemp("ca"), settings={"MESHCA__WORKERS": "1"}) as running:
        yield running


def memory(server: Server) -> float:
    """Resident MiB of the worker."""
    (worker,) = server.workers()
    (line,) = [
        line
        for line in Path(f"/proc/{worker['pid']}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    return int(line.split()[1]) / 1024


def prefix(size: int) -> bytes:
    """The five bytes before a gRPC message."""
    return struct.pack(">BI", 0, size)


async def test_half_sent_messages(server: Server) -> None:
    """A hundred messages of the largest size, each without its last byte, cost little more than their bytes."""
    before = memory(server)
    async with http2(server) as connection:
        half = prefix(MAX_MESSAGE_BYTES) + bytes(MAX_MESSAGE_BYTES - 1)
        for stream in STREAMS:
            connection.begin(stream, CREATE)
        await asyncio.gather(*(connection.data(stream, half) for stream in STREAMS))
        await asyncio.sleep(0.5)  # for the server to read what was sent
        assert memory(server) - before < MOST_MIB
    assert (await server.create(server.token())).spiffe_id


async def test_larger_messages_are_refused_by_their_length(server: Server) -> None:
    """GRPC reads five bytes and answers RESOURCE_EXHAUSTED; nothing of what follows is kept."""
    before = memory(server)
    async with http2(server) as connection:
        for stream in STREAMS:
            connection.begin(stream, CREATE)
            await connection.data(stream, prefix(MAX_MESSAGE_BYTES + 1))
        answers = await connection.until(HEADERS, streams=len(STREAMS))
        assert len(answers) == len(STREAMS)
        assert memory(server) - before < MOST_MIB


@pytest.mark.parametrize(
    "entries", [50_000, MAX_METADATA_BYTES // ENTRY - 20], ids=["more than allowed", "as many as allowed"]
)
async def test_headers_that_grow(server: Server, entries: int) -> None:
    """One byte stands for a whole header: what a call's metadata unpacks to is bounded, not what it takes."""
    before = memory(server)
    async with http2(server) as connection:
        for stream in STREAMS:
            fields = literal("a", "b", indexed=True) if stream == STREAMS[0] else b""
            connection.begin(stream, CHECK, fields + NEWEST * entries)
            await connection.data(stream, EMPTY)
            await connection.writer.drain()
        await connection.until(HEADERS, RST_STREAM, streams=len(STREAMS))
        assert memory(server) - before < MOST_MIB
    assert (await server.create(server.token())).spiffe_id


async def test_headers_that_grow_before_settings_are_acknowledged(server: Server) -> None:
    """GRPC lets most of such calls in; none of them stays, though their messages never come."""
    async with http2(server, deaf=True) as connection:
        for stream in STREAMS[:20]:
            fields = literal("a", "b", indexed=True) if stream == STREAMS[0] else b""
            connection.begin(stream, WATCH, fields + NEWEST * 10_000)
            await connection.writer.drain()
        await connection.until(HEADERS, RST_STREAM, streams=20)
    assert (await server.create(server.token())).spiffe_id


def bulky(size: int) -> bytes:
    """A discovery request of so many bytes, most of them empty list elements that become objects when parsed."""
    element = b"\x0a\x00"
    values = b"\x32" + _sized(element * (size // len(element)))  # google.protobuf.Value.list_value
    entry = b"\x0a\x01x" + b"\x12" + _sized(values)  # an entry of google.protobuf.Struct.fields
    node = b"\x0a\x01n" + b"\x1a" + _sized(b"\x0a" + _sized(entry))  # Node.id, Node.metadata
    return b"\x12" + _sized(node) + b"\x22" + _sized(SECRET_TYPE_URL.encode())


def _sized(payload: bytes) -> bytes:
    size, length = len(payload), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return length + bytes([size]) + payload


async def test_idle_streams_hold_nothing_of_their_requests(server: Server) -> None:
    """A workload's hundred streams, each begun with a request of nearly the largest size, and then silent."""
    before, request = memory(server), bulky(MAX_MESSAGE_BYTES - 1024)
    metadata = (("authorization", f"Bearer {server.token()}"),)
    async with server.channel() as channel:
        calls = [channel.stream_stream(ADS + "StreamAggregatedResources")(metadata=metadata) for _ in range(100)]
        for call in calls:
            await call.write(request)
        await asyncio.sleep(1)  # for the last to be read
        assert not any(call.done() for call in calls)
        assert memory(server) - before < MOST_MIB
        for call in calls:
            call.cancel()
