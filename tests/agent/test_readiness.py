"""Probes over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.agent import readiness
from meshca.agent.readiness import LONGEST_REQUEST, open_readiness
from meshca.agent.target import Target
from meshca.errors import ConfigError

ANYWHERE = Target(host="127.0.0.1", port=0)
STATE: dict[str, object] = {"ready": True, "reason": ""}


async def ask(
    target: Target, request: bytes, *, half_close: bool = False
) -> tuple[int, Mapping[str, object] | None]:
    """Status and body of one raw request."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(request)
    if half_close:
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else None


async def get(state: Mapping[str, object], request: str) -> tuple[int, Mapping[str, object] | None]:
    """The answer to a request line."""
    async with open_readiness(ANYWHERE, lambda: state) as target:
        return await ask(target, f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_ready_is_200_with_the_state() -> None:
    """As JSON."""
    assert await get({"ready": True, "roots": "v1"}, "GET /readyz") == (200, {"ready": True, "roots": "v1"})


async def test_not_ready_is_503_with_the_reason() -> None:
    """A pod's start order waits for it."""
    state = {"ready": False, "reason": "no certificate yet"}
    assert await get(state, "GET /readyz?verbose") == (503, state)


async def test_alive_is_200_whether_ready_or_not() -> None:
    """Restarting an agent whose CA is down helps nobody."""
    assert await get({"ready": False}, "GET /livez") == (200, {"live": True})


async def test_head_has_no_body() -> None:
    """But the status."""
    assert await get({"ready": False}, "HEAD /readyz") == (503, None)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /", 404), ("GET /readyz/", 404), ("POST /readyz", 405), ("DELETE /livez", 405), ("nonsense", 404)],
)
async def test_other_requests_are_told_so(request_line: str, status: int) -> None:
    """With a hint in the body."""
    assert (await get(STATE, request_line))[0] == status


@pytest.mark.parametrize(
    "request_bytes", [b"", b"GET /readyz HTTP/1.1\r\n", b"x" * (LONGEST_REQUEST + 10), b"\x16\x03\x01" * 9]
)
async def test_broken_requests_are_refused(request_bytes: bytes) -> None:
    """Cut off, too long, or TLS."""
    async with open_readiness(ANYWHERE, lambda: STATE) as target:
        assert (await ask(target, request_bytes, half_close=True))[0] == 400


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few seconds."""
    monkeypatch.setattr(readiness, "SECONDS", 0.05)
    async with open_readiness(ANYWHERE, lambda: STATE) as target:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        assert await reader.read() == b""
        writer.close()


async def test_a_used_port_is_named() -> None:
    """With what to do."""
    async with open_readiness(ANYWHERE, lambda: STATE) as target:
        with pytest.raises(ConfigError, match="--readiness"):
            async with open_readiness(target, lambda: STATE):
                pass


@given(st.binary(max_size=300))
def test_any_request_gets_an_http_answer(request: bytes) -> None:
    """Nothing breaks the responder."""

    async def exchange() -> bytes:
        reader = asyncio.StreamReader(limit=LONGEST_REQUEST)
        reader.feed_data(request)
        reader.feed_eof()
        return await readiness._answer(reader, lambda: STATE)

    assert asyncio.run(exchange()).startswith(b"HTTP/1.1 ")
