"""The calls that the demo makes: through Envoy as an application would, and past it as an attacker would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

import aiohttp

from meshca.errors import InvariantBroken

_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back.

    Attributes:
        status: of the HTTP answer; 0 when there was none.
        text: body of the answer, or what ended the connection.
    """

    status: int
    text: str


async def get(port: int, path: str) -> Reply:
    """GET a path through the plain loopback port of an Envoy, which adds mTLS.

    Raises:
        OSError: also aiohttp's ClientError; nobody answers.
    """
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return Reply(status=answer.status, text=await answer.text())


async def get_past_envoy(port: int, path: str, tls: ssl.SSLContext | None) -> Reply:
    """GET a path straight from a mTLS port, with an attacker's TLS or with none.

    With TLS 1.3 the client's handshake ends before the server has judged its certificate, so only the answer,
    or its absence, says whether it was believed.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: payments\r\nconnection: close\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                await _close(writer)
    except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
        return Reply(status=0, text=_why(error))
    if answer.startswith(b"HTTP/1."):
        return Reply(status=int(answer[9:12]), text=answer.decode(errors="replace"))
    return Reply(status=0, text="connection closed")


def expect(what: str, expected: int, reply: Reply) -> None:
    """Go on only when a call was answered as it should have been.

    Raises:
        InvariantBroken: reason `demo_answer`, naming the call, what was expected and what came.
    """
    if reply.status != expected:
        came = f"answered {reply.status}" if reply.status else f"not answered ({reply.text})"
        wanted = f"{expected}" if expected else "no answer"
        raise InvariantBroken("demo_answer", f"{what} was {came}, expected {wanted}")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None)  # ssl.SSLError has OpenSSL's own word, such as TLSV1_ALERT_UNKNOWN_CA
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return "no answer in time" if isinstance(error, TimeoutError) else "connection closed"
