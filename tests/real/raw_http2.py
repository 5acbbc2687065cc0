"""HTTP/2 written frame by frame, so that a test can be the client that no library is.

Half-sent messages, header blocks that grow when they are unpacked, windows of zero: RFC 9113 and RFC 7541, as far
as it takes to be rude.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.real.dev_server import Server

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4  # the setting
FRAME = 16_384  # bytes; no server takes larger frames unasked
NEWEST = b"\xbe"  # RFC 7541 section 6.1: one byte that stands for the newest entry of the dynamic table
EMPTY = struct.pack(">BI", 0, 0)  # a gRPC message without a byte


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Http2:
    """A connection; `heard` are the frames that say something about streams or the connection's end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[Frame] = field(default_factory=list)
    closed: bool = False
    deaf: bool = False
    agreed: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _window: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    _initial: int = 65_535

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """One frame, whatever it does."""
        self.writer.write(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def begin(self, stream: int, path: str, more: bytes = b"") -> None:
        """The header block of a gRPC call, with more behind it, in as many frames as it takes."""
        fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost"}
        fields |= {"te": "trailers", "content-type": "application/grpc"}
        block = b"".join(literal(name, value) for name, value in fields.items()) + more
        parts = [block[start : start + FRAME] for start in range(0, len(block), FRAME)]
        for number, part in enumerate(parts):
            last = END_HEADERS if number == len(parts) - 1 else 0
            self.send(CONTINUATION if number else HEADERS, last, stream, part)

    async def data(self, stream: int, payload: bytes, *, end: bool = False) -> None:
        """As much of this as the server's windows allow, the rest when they open."""
        sent = 0
        while sent < len(payload):
            async with self._news:
                await self._news.wait_for(lambda: self.closed or self._room(stream) > 0)
            assert not self.closed
            part = payload[sent : sent + min(FRAME, self._room(stream))]
            self._window[0] -= len(part)
            self._window[stream] -= len(part)
            sent += len(part)
            self.send(DATA, END_STREAM if end and sent == len(payload) else 0, stream, part)
            await self.writer.drain()

    async def until(self, *kinds: int, streams: int = 1) -> list[Frame]:
        """Wait for a frame of these kinds on so many streams; all of them."""
        async with self._news:
            await self._news.wait_for(lambda: self.closed or len(self._told(kinds)) >= streams)
        return [frame for frame in self.heard if frame.kind in kinds]

    async def run(self) -> None:
        """Read until the server closes."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await self.reader.readexactly(9)
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                await self._take(Frame(kind, flags, stream, payload))
        self.closed = True
        async with self._news:
            self._news.notify_all()

    async def _take(self, frame: Frame) -> None:
        match frame.kind:
            case kind if kind == SETTINGS and frame.flags & ACK:
                pass
            case kind if kind == SETTINGS:
                for setting, value in struct.iter_unpack(">HI", frame.payload):
                    self._initial = value if setting == INITIAL_WINDOW_SIZE else self._initial
                if not self.deaf:
                    self.send(SETTINGS, ACK, 0)
                self.agreed.set()
            case kind if kind == PING and not frame.flags & ACK:
                self.send(PING, ACK, 0, frame.payload)
            case kind if kind == WINDOW_UPDATE:
                self._window[frame.stream] += int.from_bytes(frame.payload, "big")
            case _:
                self.heard.append(frame)
        async with self._news:
            self._news.notify_all()

    def _told(self, kinds: tuple[int, ...]) -> set[int]:
        return {frame.stream for frame in self.heard if frame.kind in kinds}

    def _room(self, stream: int) -> int:
        return min(self._window[0] + 65_535, self._window[stream] + self._initial)


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """A header field spelt out (RFC 7541 section 6.2); indexed, it becomes the newest entry of the table."""
    return (b"\x40" if indexed else b"\x00") + _string(name.encode()) + _string(value.encode())


def _string(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text


@contextlib.asynccontextmanager
async def http2(server: Server, *, window: int = 2**31 - 1, deaf: bool = False) -> AsyncIterator[Http2]:
    """A connection to the token port whose server has said its settings.

    Args:
        server: to connect to.
        window: bytes that it may send on each stream.
        deaf: whether its settings are never acknowledged, so that it cannot count on them.
    """
    context = ssl.create_default_context(cafile=str(server.folder / "root.pem"))
    context.set_alpn_protocols(["h2"])
    host, _, port = server.endpoint().rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    connection = Http2(reader, writer, deaf=deaf)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    connection.send(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window))
    reading = asyncio.create_task(connection.run())
    try:
        await connection.agreed.wait()
        yield connection
    finally:
        writer.transport.abort()
        await reading
