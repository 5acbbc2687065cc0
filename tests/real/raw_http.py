"""HTTP/1.1 requests written byte for byte, so that a path reaches Envoy exactly as a test spells it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RawClient:
    """One connection to a loopback port, kept for many requests and reopened when Envoy closes it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.transport.abort()  # no orderly end: Envoy would keep a TLS client waiting for a second
            await asyncio.sleep(0)

    async def request(self, method: str, target: str | bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request and read its answer.

        Raises:
            OSError: also for a refused connection and a failed handshake (ssl.SSLError is one).
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        reader, writer = self._streams
        path = target.encode() if isinstance(target, str) else target
        lines = [f"{key}: {value}\r\n".encode() for key, value in (headers or {}).items()]
        writer.write(method.encode() + b" " + path + b" HTTP/1.1\r\nhost: test\r\n" + b"".join(lines) + b"\r\n")
        try:
            answer = await _read(reader, method)
        except (asyncio.IncompleteReadError, ValueError):
            await self.close()
            raise ConnectionResetError("the connection ended before an answer") from None
        if answer.headers.get("connection") == "close":
            await self.close()
        return answer


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    first = (await reader.readuntil(b"\r\n")).decode("latin-1")
    status = int(first.split(" ")[1])
    headers: dict[str, str] = {}
    while (line := (await reader.readuntil(b"\r\n")).decode("latin-1").strip()) != "":
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
    if method == "HEAD" or status in {204, 304}:
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _chunks(reader))
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
