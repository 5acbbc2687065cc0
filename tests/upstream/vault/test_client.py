"""A call goes in; an answer or a fault comes out, and the loop never waits."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from meshca.errors import Unavailable
from meshca.secret import Secret
from meshca.upstream.vault.answer import Answer
from meshca.upstream.vault.client import Client, Place, connect
from meshca.upstream.vault.faults import TABLE, Fault, fault_of
from meshca.upstream.vault.wire import LARGEST, Wire
from tests.fakes.logs import captured_logs
from tests.fakes.vault_replies import Reply, dripping, hanging, redirecting, refusing, saying
from tests.fakes.vault_server import serving
from tests.fakes.vault_tls import tls_files

TOKEN = Secret("hvs.the-token-that-nobody-may-see")
HTML = saying(b"<html><body>Sign in</body></html>", kind="text/html")
LONG = timedelta(seconds=30)


async def ask(
    address: str,
    *,
    token: Secret[str] = TOKEN,
    within: timedelta = LONG,
) -> Answer:
    """One call."""
    place = Place(address=address, namespace="", wire=Wire(timeout=within))
    async with connect(place) as client:
        return await client.call("post", "x", {"a": 1}, token=token)


async def fault(reply: Reply, **kwargs: Any) -> Fault | None:
    """What one call to such a server meets."""
    async with serving(reply) as address:
        with pytest.raises(Unavailable) as caught:
            await ask(address, **kwargs)
    return fault_of(caught.value)


async def test_answer() -> None:
    """What is sent, and what comes back."""
    seen: list[object] = []

    async def reply(request: web.Request) -> web.StreamResponse:
        headers = [request.headers.get(f"X-Vault-{name}") for name in ("Token", "Request", "Namespace")]
        seen.extend([request.method, request.path, await request.json(), *headers])
        return web.json_response({"data": {"b": "c"}, "auth": None, "warnings": ["careful"]})

    async with serving(reply) as address:
        place = Place(address=address, namespace="team/a", wire=Wire(timeout=LONG))
        async with connect(place) as client:
            answer = await client.call("post", "pki/x", {"a": 1}, token=TOKEN)
    assert seen == ["POST", "/v1/pki/x", {"a": 1}, TOKEN.reveal(), "true", "team/a"]
    assert (answer.data.text("b"), answer.warnings) == ("c", ("careful",))


async def test_of_the_server() -> None:
    """A page about the whole server is asked for outside of our namespace; what follows is in it again."""
    seen = []

    async def reply(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("X-Vault-Namespace"))
        return web.json_response({})

    async with (
        serving(reply) as address,
        connect(Place(address=address, namespace="team/a", wire=Wire(timeout=LONG))) as client,
    ):
        await client.of_server("x")
        await client.call("get", "x")
    assert seen == [None, "team/a"]


async def test_nobody_shows_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call as nobody has no token, whatever the environment holds and whoever called before."""
    monkeypatch.setenv("VAULT_TOKEN", "of-the-environment")
    seen = []

    async def reply(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("X-Vault-Token"))
        return web.json_response({})

    async with (
        serving(reply) as address,
        connect(Place(address=address, namespace="", wire=Wire(timeout=LONG))) as client,
    ):
        await client.call("get", "x")
        await client.call("get", "x", token=TOKEN)
        await client.call("get", "x")
    assert seen == [None, TOKEN.reveal(), None]


async def test_empty_answer() -> None:
    """204 without a body is an answer with nothing in it."""
    async with serving(saying(b"", 204)) as address:
        assert (await ask(address)).warnings == ()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (refusing(400, "bad"), Fault.BAD_REQUEST),
        (refusing(401, "who"), Fault.FORBIDDEN),
        (refusing(403, "permission denied"), Fault.FORBIDDEN),
        (refusing(404), Fault.MOUNT),
        (refusing(404, "namespace not found"), Fault.NAMESPACE),
        (refusing(405, "unsupported operation"), Fault.MOUNT),
        (refusing(412, "required index state not present"), Fault.STALE),
        (refusing(413, "request body too large"), Fault.BAD_REQUEST),
        (
            refusing(429, "request path: rate limit quota exceeded", headers={"Retry-After": "3"}),
            Fault.RATE_LIMITED,
        ),
        (saying(b"slow down", 429, kind="text/plain"), Fault.RATE_LIMITED),
        (refusing(472), Fault.STANDBY),
        (saying({}, 473), Fault.STANDBY),
        (refusing(474), Fault.STANDBY),
        (refusing(500, "unable to find PKI issuer for reference: x"), Fault.ISSUER),
        (refusing(500, "internal error"), Fault.SERVER_ERROR),
        (refusing(501, "Vault is not initialized"), Fault.UNINITIALIZED),
        (refusing(501), Fault.SERVER_ERROR),
        (saying(b"no server is available", 503, kind="text/plain"), Fault.SERVER_ERROR),
        (saying(b"bad gateway", 502, kind="text/html"), Fault.SERVER_ERROR),
        (refusing(503, "Vault is sealed"), Fault.SEALED),
        (saying(b"", 504), Fault.SERVER_ERROR),
        (HTML, Fault.NOT_VAULT),
        (saying(b"<html>", 404, kind="text/html"), Fault.NOT_VAULT),
        (saying({"message": "forbidden"}, 403), Fault.NOT_VAULT),
        (saying([1, 2]), Fault.NOT_VAULT),
        (saying(b"[" * 500_000), Fault.NOT_VAULT),
        (saying(b"\xff\xfe{"), Fault.NOT_VAULT),
        (saying(b"1" * 5000), Fault.NOT_VAULT),
        (saying(b"", 302), Fault.REDIRECTED),
        (saying(b"", 304), Fault.NOT_VAULT),
        (redirecting("http://elsewhere.example/v1/x"), Fault.REDIRECTED),
        (saying(b" " * (LARGEST + 1)), Fault.TOO_LARGE),
    ],
)
async def test_each_answer(reply: Reply, expected: Fault) -> None:
    """Each answer that is none tells its fault."""
    assert await fault(reply) == expected


@pytest.mark.parametrize("reply", [hanging, dripping])
async def test_no_answer_in_time(reply: Reply) -> None:
    """What does not come, or not to its end, has its own fault: whether it was done is not known."""
    assert await fault(reply, within=timedelta(milliseconds=200)) == Fault.TIMEOUT


async def test_cut_off() -> None:
    """A connection that ends in the middle of an answer is a server that is not there."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    assert await fault(reply) == Fault.UNREACHABLE


async def transport_fault(address: str, **kwargs: Any) -> Fault | None:
    """What one call to this address meets."""
    with pytest.raises(Unavailable) as caught:
        await ask(address, **kwargs)
    return fault_of(caught.value)


async def test_nobody_there() -> None:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await transport_fault(f"http://127.0.0.1:{taken.getsockname()[1]}") == Fault.UNREACHABLE


@pytest.mark.parametrize("host", ["vault.invalid", "x" * 63 + "." + "y" * 64])
async def test_no_such_host(host: str) -> None:
    """A name that nobody has, or that is none."""
    assert await transport_fault(f"https://{host}:8200") == Fault.UNREACHABLE


async def test_connecting_takes_too_long() -> None:
    """Nothing was sent before there is a connection, so this is not the fault of an unknown outcome."""

    class Blocked(Wire):
        def request(self, *_: Any, **__: Any) -> requests.Response:
            raise requests.ConnectTimeout

    async with connect(Place(address="https://a", namespace="", wire=Blocked(timeout=LONG))) as client:
        with pytest.raises(Unavailable) as caught:
            await client.call("get", "x")
    assert fault_of(caught.value) == Fault.UNREACHABLE


async def test_untrusted_certificate(tmp_path: Path) -> None:
    """A certificate below roots that were not given."""
    async with serving(saying({}), tls=tls_files(tmp_path)) as address:
        assert await transport_fault(address) == Fault.UNTRUSTED


async def test_https_where_http_is_spoken() -> None:
    """There is no TLS at the port."""
    async with serving(saying({})) as address:
        assert await transport_fault(address.replace("http:", "https:")) == Fault.UNTRUSTED


async def test_http_where_https_is_spoken(tmp_path: Path) -> None:
    """There is TLS at the port, and the server hangs up."""
    async with serving(saying({}), tls=tls_files(tmp_path)) as address:
        assert await transport_fault(address.replace("https:", "http:")) == Fault.UNREACHABLE


async def test_loop_goes_on() -> None:
    """While a call waits for its answer, the loop does other things: here, it gives the answer."""
    release = asyncio.Event()

    async def reply(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response({"data": {"done": "yes"}})

    async with serving(reply) as address:
        asked = asyncio.create_task(ask(address))
        await asyncio.sleep(0)
        assert not asked.done()
        release.set()
        assert (await asked).data.text("done") == "yes"


async def test_cancelled() -> None:
    """A call that is no longer wanted does not keep the next from its own answer."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/first":
            begun.set()
            await release.wait()
        return web.json_response({"data": {"path": request.path}})

    async with (
        serving(reply) as address,
        connect(Place(address=address, namespace="", wire=Wire(timeout=LONG))) as client,
    ):
        first = asyncio.create_task(client.call("get", "first"))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        release.set()
        assert (await client.call("get", "second")).data.text("path") == "/v1/second"


async def test_end_while_a_call_hangs() -> None:
    """The end of the block does not wait for a server that hangs."""

    async def begin(client: Client, begun: asyncio.Event) -> None:
        task = asyncio.create_task(client.call("get", "x"))
        await begun.wait()
        task.cancel()

    begun = asyncio.Event()

    async def reply(request: web.Request) -> web.StreamResponse:
        begun.set()
        return await hanging(request)

    async with serving(reply) as address:
        async with connect(Place(address=address, namespace="", wire=Wire(timeout=LONG))) as client:
            await begin(client, begun)
        assert begun.is_set()


@pytest.mark.parametrize(
    "reply",
    [
        refusing(403, f"no such token {TOKEN.reveal()}"),
        saying({"errors": [TOKEN.reveal()]}, 500),
        saying(TOKEN.reveal().encode()),
        redirecting("http://elsewhere.example/"),
        saying(b" " * (LARGEST + 1)),
        hanging,
    ],
)
async def test_token_is_never_shown(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    """No error, no traceback, no log of ours or of a library's and no `repr` has the token."""
    caplog.set_level(logging.DEBUG)
    with captured_logs() as events:
        async with serving(reply) as address:
            place = Place(address=address, namespace="", wire=Wire(timeout=timedelta(milliseconds=500)))
            async with connect(place) as client:
                with pytest.raises(Unavailable) as caught:
                    await client.call("post", "x", {"secret": TOKEN.reveal()}, token=TOKEN)
                shown = [repr(client), repr(place), repr(client.__dict__), *map(repr, events)]
    trace = "".join(traceback.format_exception(caught.value))
    shown += [repr(caught.value), caught.value.detail, trace, caplog.text]
    assert [text for text in shown if TOKEN.reveal() in text] == []


async def test_answer_hides_its_token() -> None:
    """An answer does not show what it holds."""
    async with serving(saying({"auth": {"client_token": TOKEN.reveal()}})) as address:
        assert TOKEN.reveal() not in repr(await ask(address))


def test_table_has_every_fault() -> None:
    """Each fault has its row."""
    assert set(TABLE) == set(Fault)
