"""One bounded answer to one request, and a token only where somebody named the host."""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web
from cryptography import x509

from meshca.errors import Unavailable
from meshca.upstream.vault.wire import LARGEST, Wire
from tests.fakes.vault_replies import Reply, dripping, dripping_headers, flooding, hanging, redirecting, saying
from tests.fakes.vault_server import serving
from tests.fakes.vault_tls import sha256_of, tls_files

Tls = tuple[Path, Path, Path]
LONG = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Files for a server at 127.0.0.1."""
    return tls_files(tmp_path_factory.mktemp("tls"))


async def get(wire: Wire, address: str, **kwargs: Any) -> requests.Response:
    """Ask in a thread: the server is in this one."""
    return await asyncio.to_thread(wire.get, f"{address}/v1/x", **kwargs)


async def test_whole_answer() -> None:
    """An answer of the largest size is read to its end."""
    async with serving(saying(b"x" * LARGEST)) as address:
        assert (await get(Wire(timeout=LONG), address)).content == b"x" * LARGEST


async def endless(request: web.Request) -> web.StreamResponse:
    """More and more."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


@pytest.mark.parametrize("reply", [saying(b"x" * (LARGEST + 1)), saying(b"x" * 50 * 1024 * 1024), endless])
async def test_too_large(reply: Reply) -> None:
    """An answer that is larger, or has no end, is left where the bound is."""
    async with serving(reply) as address:
        with pytest.raises(Unavailable, match="larger than 1 MiB") as caught:
            await get(Wire(timeout=LONG), address)
    assert caught.value.reason == "vault_too_large"


async def test_packed() -> None:
    """What grows as it is unpacked is bounded by what it grows to."""
    packed = zlib.compress(b"x" * 50 * 1024 * 1024)
    async with serving(saying(packed, headers={"Content-Encoding": "deflate"})) as address:
        with pytest.raises(Unavailable, match="larger than 1 MiB"):
            await get(Wire(timeout=LONG), address)


async def test_asks_for_nothing_packed() -> None:
    """No compression is asked for."""
    asked = []

    async def reply(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Accept-Encoding"])
        return web.Response()

    async with serving(reply) as address:
        await get(Wire(timeout=LONG), address)
    assert asked == ["identity"]


@pytest.mark.parametrize("reply", [dripping, dripping_headers, flooding, hanging])
async def test_too_slow(reply: Reply) -> None:
    """An answer that never comes, or never ends though each byte comes soon, is given up."""
    async with serving(reply) as address:
        with pytest.raises(requests.RequestException, match="timed out"):
            await get(Wire(timeout=SHORT), address)


async def test_connection_is_used_again() -> None:
    """A second call goes over the connection of the first."""
    peers = set()

    async def reply(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({})

    async with serving(reply) as address:
        wire = Wire(timeout=LONG)
        for _ in range(3):
            await get(wire, address)
    assert len(peers) == 1


async def test_redirect_to_a_named_host() -> None:
    """A standby may send us to a host that was named, with method, body and token."""
    seen = []

    async def active(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, await request.text(), request.headers["X-Vault-Token"]))
        return web.json_response({})

    async with serving(active) as there, serving(redirecting(f"{there}/v1/y")) as here:
        wire = Wire(timeout=LONG, redirect_hosts=[there.removeprefix("http://")])
        await asyncio.to_thread(wire.post, f"{here}/v1/x", data="body", headers={"X-Vault-Token": "secret"})
    assert seen == [("POST", "body", "secret")]


async def test_redirect_at_the_same_host() -> None:
    """The host that redirects needs no naming."""

    async def reply(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/y":
            return web.json_response({"there": True})
        raise web.HTTPTemporaryRedirect(str(request.url.with_path("/v1/y")))

    async with serving(reply) as address:
        assert (await get(Wire(timeout=LONG), address)).json() == {"there": True}


@pytest.mark.parametrize(
    ("to", "status"),
    [
        pytest.param("{there}/v1/x", 307, id="a-host-that-nobody-named"),
        pytest.param("https://{named}/v1/x", 307, id="another-scheme"),
        pytest.param("http://{named}@{other}/v1/x", 307, id="a-named-host-as-a-user"),
        pytest.param("http://{named}\\@{other}/v1/x", 307, id="a-named-host-and-a-backslash"),
        pytest.param("http://{named}/v1/x", 302, id="a-status-that-drops-the-body"),
        pytest.param("/v1/y", 307, id="no-host"),
        pytest.param("", 307, id="nowhere"),
        pytest.param("http://[::1/v1/x", 307, id="no-address"),
        pytest.param("http://{named}0000/v1/x", 307, id="no-port"),
        pytest.param("gopher://{named}/v1/x", 307, id="no-scheme-of-ours"),
    ],
)
async def test_redirect_refused(to: str, status: int) -> None:
    """A redirect elsewhere is not followed, so that no other host sees our token."""
    seen = []

    async def other(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers)
        return web.json_response({})

    async with serving(other) as there, serving(saying({})) as named:
        named_host, other_host = named.removeprefix("http://"), there.removeprefix("http://")
        target = to.format(there=there, named=named_host, other=other_host)
        async with serving(redirecting(target, status)) as here:
            with pytest.raises(Unavailable, match=r"upstream\.redirect_hosts") as caught:
                await get(Wire(timeout=LONG, redirect_hosts=[named_host]), here)
    assert (caught.value.reason, seen) == ("vault_redirected", [])


async def test_redirect_twice() -> None:
    """A redirect that leads to a redirect is not followed."""

    async def reply(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(str(request.url))

    async with serving(reply) as address:
        with pytest.raises(Unavailable, match="twice"):
            await get(Wire(timeout=LONG), address)


async def test_redirect_with_an_endless_body() -> None:
    """The body of a redirect is not read."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=307, headers={"Location": "http://elsewhere.example/"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with serving(reply) as address:
        with pytest.raises(Unavailable, match=r"elsewhere\.example"):
            await get(Wire(timeout=LONG), address)


async def test_redirect_shows_no_control_characters() -> None:
    """The address that a stranger sends us to is harmless to read, and not long."""
    async with serving(redirecting("http://evil\u202e" + "x" * 5000)) as address:
        with pytest.raises(Unavailable) as caught:
            await get(Wire(timeout=LONG), address)
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 500


async def test_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: Tls) -> None:
    """No proxy, no password of a netrc and no roots come from the environment."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tls[0]))
    seen = []

    async def reply(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with serving(reply) as address:
        await get(Wire(timeout=LONG), address)
    assert seen == [None]
    async with serving(reply, tls=tls) as address:
        with pytest.raises(requests.exceptions.SSLError):
            await get(Wire(timeout=LONG, verify=str(tls_files(tmp_path)[0])), address)


async def test_trusted(tls: Tls) -> None:
    """A certificate below the given roots, for the host, is believed."""
    async with serving(saying({"tls": True}), tls=tls) as address:
        assert (await get(Wire(timeout=LONG, verify=str(tls[0])), address)).json() == {"tls": True}


@pytest.mark.parametrize("verify", ["machine", "other"])
async def test_untrusted(verify: str, tls: Tls, tmp_path: Path) -> None:
    """A certificate below other roots is refused."""
    roots: str | bool = True if verify == "machine" else str(tls_files(tmp_path)[0])
    async with serving(saying({}), tls=tls) as address:
        with pytest.raises(requests.exceptions.SSLError):
            await get(Wire(timeout=LONG, verify=roots), address)


async def test_another_name(tmp_path: Path) -> None:
    """A certificate for another host is refused."""
    tls = tls_files(tmp_path, x509.DNSName("vault.example.org"))
    async with serving(saying({}), tls=tls) as address:
        with pytest.raises(requests.exceptions.SSLError):
            await get(Wire(timeout=LONG, verify=str(tls[0])), address)


async def test_pinned(tmp_path: Path) -> None:
    """A certificate is believed for its fingerprint alone, whoever signed it and whatever its names."""
    tls = tls_files(tmp_path, x509.DNSName("vault.example.org"))
    async with serving(saying({"tls": True}), tls=tls) as address:
        wire = Wire(timeout=LONG, fingerprint=sha256_of(tls[1]))
        assert (await get(wire, address)).json() == {"tls": True}


async def test_pinned_to_another(tls: Tls, tmp_path: Path) -> None:
    """Another certificate than the pinned one is refused, also below the given roots, and sees no request."""
    seen = []

    async def reply(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.json_response({})

    async with serving(reply, tls=tls) as address:
        wire = Wire(timeout=LONG, verify=str(tls[0]), fingerprint=sha256_of(tls_files(tmp_path)[1]))
        with pytest.raises(requests.exceptions.SSLError):
            await get(wire, address)
    assert seen == []


async def test_slow_under_tls(tls: Tls) -> None:
    """The bound in time holds under TLS too."""
    async with serving(dripping, tls=tls) as address:
        with pytest.raises(requests.RequestException, match="timed out"):
            await get(Wire(timeout=SHORT, verify=str(tls[0])), address)
