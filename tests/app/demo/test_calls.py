"""Calls past Envoy tell an answer from a refusal; expectations name what came instead."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.app.demo import calls
from meshca.app.demo.calls import Reply, expect
from meshca.app.demo.forged import forged_client
from meshca.errors import InvariantBroken
from meshca.identity.spiffe_id import SpiffeId
from tests.fakes.echo_app import echo_app
from tests.real.pki import Pki

WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")


@contextlib.asynccontextmanager
async def saying(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads a request, writes these bytes and closes; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


def server_context(pki: Pki, folder: Path) -> ssl.SSLContext:
    """A server of the mesh: demands a client certificate that its own root signed."""
    leaf = pki.leaf("spiffe://cluster.local/ns/shop/sa/payments")
    (folder / "server.pem").write_bytes(leaf.key + leaf.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(cadata=pki.root().decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_call_gives_status_and_body() -> None:
    """As an application sees it."""
    async with echo_app() as port:
        reply = await calls.get(port, "/charges")
    assert reply.status == 200
    assert '"path": "/charges"' in reply.text


async def test_an_http_answer_is_an_answer() -> None:
    """Whatever its status."""
    async with saying(b"HTTP/1.1 403 Forbidden\r\n\r\n") as port:
        reply = await calls.get_past_envoy(port, "/charges", tls=None)
    assert reply.status == 403


@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x01\x00\x02\x02\x46"], ids=["nothing", "a TLS alert"])
async def test_anything_else_is_a_refusal(answer: bytes) -> None:
    """A closed connection and a TLS alert say no."""
    async with saying(answer) as port:
        reply = await calls.get_past_envoy(port, "/charges", tls=None)
    assert reply == Reply(status=0, text="connection closed")


async def test_a_self_made_certificate_is_refused_where_one_of_the_mesh_is_not(tmp_path: Path) -> None:
    """Same call, same name; only the signature differs."""
    pki = Pki()
    (tmp_path / "root.pem").write_bytes(pki.root())
    genuine = pki.leaf(str(WEB))
    async with saying(b"HTTP/1.1 200 OK\r\n\r\n", server_context(pki, tmp_path)) as port:
        tls = forged_client(WEB, tmp_path / "root.pem", tmp_path)
        refused = await calls.get_past_envoy(port, "/charges", tls=tls)
        (tmp_path / "genuine.pem").write_bytes(genuine.key + genuine.certificate)
        tls.load_cert_chain(tmp_path / "genuine.pem")
        answered = await calls.get_past_envoy(port, "/charges", tls=tls)
    assert (refused.status, answered.status) == (0, 200)


async def test_nobody_there_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection and one without an answer in time."""
    async with saying(b"") as port:
        pass
    assert (await calls.get_past_envoy(port, "/", tls=None)).text == "connection closed"

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent:
        monkeypatch.setattr(calls, "_SECONDS", 0.05)
        reply = await calls.get_past_envoy(silent.sockets[0].getsockname()[1], "/", tls=None)
    assert reply == Reply(status=0, text="no answer in time")


@pytest.mark.parametrize(
    ("expected", "reply", "message"),
    [
        (200, Reply(status=503, text=""), "web was answered 503, expected 200"),
        (0, Reply(status=200, text=""), "web was answered 200, expected no answer"),
        (
            200,
            Reply(status=0, text="connection closed"),
            r"web was not answered \(connection closed\), expected 200",
        ),
    ],
    ids=["other status", "answered", "not answered"],
)
def test_an_unexpected_answer_is_named(expected: int, reply: Reply, message: str) -> None:
    """What was called, what was expected, what came."""
    with pytest.raises(InvariantBroken, match=message):
        expect("web", expected, reply)


def test_an_expected_answer_passes() -> None:
    """And nothing is raised."""
    expect("web", 403, Reply(status=403, text=""))
