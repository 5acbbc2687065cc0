"""Tests of meshca.authn.key_source, against real servers on loopback that behave as told."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca.authn.key_source import (
    ACCEPT,
    AddressSource,
    DiscoverySource,
    Download,
    FileSource,
    source_of,
)
from meshca.authn.keyset import KeySource
from meshca.config.authn import JwksConfig, KeysConfig
from meshca.errors import Unavailable
from tests.fakes.certificates import serving_certificate, signing_key

KEYS = b'{"keys": []}'
SMALL = Download(timeout=timedelta(seconds=5), max_bytes=1024)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def failure(source: KeySource) -> str:
    """Why a fetch fails."""
    with pytest.raises(Unavailable) as caught:
        await source.fetch()
    assert caught.value.reason == "issuer_keys"
    return caught.value.detail


@contextlib.asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback; gives its address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if context else "http")
    await server.start_server(ssl=context)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def answering(body: bytes = KEYS, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """A server that always gives the same answer."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    return handler


class TestFile:
    """Keys on disk."""

    async def test_a_file_is_read_anew_each_time(self, tmp_path: Path) -> None:
        """A changed file is noticed, also through a swapped symbolic link."""
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "new").write_bytes(b"new")
        link = tmp_path / "jwks.json"
        link.symlink_to("old")
        source = FileSource(link, max_bytes=1024)
        assert await source.fetch() == b"old"
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").replace(link)
        assert await source.fetch() == b"new"

    async def test_a_missing_file(self, tmp_path: Path) -> None:
        """The reason names the file."""
        assert await failure(FileSource(tmp_path / "none", max_bytes=10)) == (
            f"{tmp_path}/none can not be read: No such file or directory"
        )

    @pytest.mark.parametrize(("size", "accepted"), [(10, True), (11, False)], ids=["at the limit", "over it"])
    async def test_a_large_file(self, tmp_path: Path, size: int, *, accepted: bool) -> None:
        """No more is read than is allowed."""
        (tmp_path / "jwks.json").write_bytes(b"x" * size)
        source = FileSource(tmp_path / "jwks.json", max_bytes=10)
        if accepted:
            assert await source.fetch() == b"x" * size
        else:
            assert "more than 10 bytes" in await failure(source)


class TestAddress:
    """Keys at an address."""

    async def test_what_is_asked(self) -> None:
        """One GET with our Accept header, without compression and without credentials."""
        asked: list[web.Request] = []

        async def handler(request: web.Request) -> web.Response:
            asked.append(request)
            return web.Response(body=KEYS)

        async with serving(handler) as url:
            assert await AddressSource(f"{url}/keys", SMALL).fetch() == KEYS
        (request,) = asked
        assert (request.method, request.path, request.headers["Accept"]) == ("GET", "/keys", ACCEPT)
        assert request.headers["Accept-Encoding"] == "identity"
        assert "Authorization" not in request.headers

    @pytest.mark.parametrize(
        ("handler", "problem"),
        [
            (answering(status=404), "status 404"),
            (answering(status=500), "status 500"),
            (answering(status=204, body=b""), "status 204"),
            (
                answering(status=302, headers={"Location": "https://issuer.test/keys"}),
                "status 302; expected 200 and no redirect",
            ),
            (
                answering(gzip.compress(b" " * 100_000), headers={"Content-Encoding": "gzip"}),
                "answered compressed",
            ),
            (answering(b"x" * 1025), "more than 1024 bytes"),
        ],
        ids=["not found", "broken", "empty", "redirect", "compressed", "too large"],
    )
    async def test_another_answer_is_no_key_set(self, handler: Handler, problem: str) -> None:
        """Only a plain 200 of a sane size counts."""
        async with serving(handler) as url:
            assert problem in await failure(AddressSource(f"{url}/keys", SMALL))

    async def test_an_endless_answer_is_cut_off(self) -> None:
        """A body without end is read up to the limit, not to memory's."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await response.write(b"x" * 1024)
            return response

        async with serving(handler) as url:
            assert "more than 1024 bytes" in await failure(AddressSource(url, SMALL))

    async def test_a_silent_server(self) -> None:
        """The whole fetch has one deadline."""
        release = asyncio.Event()

        async def handler(_: web.Request) -> web.Response:
            await release.wait()
            return web.Response()

        async with serving(handler) as url:
            hasty = Download(timeout=timedelta(milliseconds=50), max_bytes=1024)
            assert await failure(AddressSource(url, hasty)) == "127.0.0.1 did not answer within 0.05 s"
            release.set()

    async def test_nobody_listens(self) -> None:
        """A refused connection is told by its kind, without the library's text."""
        async with serving(answering()) as url:
            pass
        assert await failure(AddressSource(url, SMALL)) == ("127.0.0.1 can not be asked: ClientConnectorError")

    @pytest.mark.parametrize(
        "url",
        [
            "http://issuer.test/keys",
            "http://10.0.0.1/keys",
            "http://127.0.0.1.evil.test/",
            "file:///etc/passwd",
            "ftp://localhost/",
            "",
        ],
    )
    async def test_only_https_leaves_the_machine(self, url: str) -> None:
        """Plain http goes to loopback only, anything else nowhere."""
        assert "only https is used, and http to loopback" in await failure(AddressSource(url, SMALL))

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_http_to_loopback(self, host: str) -> None:
        """For experiments."""
        async with serving(answering()) as url:
            assert await AddressSource(url.replace("127.0.0.1", host), SMALL).fetch() == KEYS

    async def test_no_proxy_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who sets HTTP_PROXY does not see or give our keys."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with serving(answering()) as url:
            assert await AddressSource(url, SMALL).fetch() == KEYS


class TestTls:
    """Keys over https."""

    async def test_a_server_that_our_roots_know(self, tmp_path: Path) -> None:
        """`ca_file` is the only trust when it is given."""
        async with serving(answering(), serving_context(tmp_path)) as url:
            assert await AddressSource(url, trusting(tmp_path / "cert.pem")).fetch() == KEYS

    async def test_a_server_that_our_roots_do_not_know(self, tmp_path: Path) -> None:
        """An unknown certificate is refused."""
        async with serving(answering(), serving_context(tmp_path)) as url:
            assert await failure(AddressSource(url, SMALL)) == (
                "127.0.0.1 can not be asked: ClientConnectorCertificateError"
            )

    @pytest.mark.parametrize("content", [None, b"", b"garbage"], ids=["missing", "empty", "garbage"])
    async def test_roots_that_can_not_be_read(self, tmp_path: Path, content: bytes | None) -> None:
        """The reason names the file."""
        if content is not None:
            (tmp_path / "ca.pem").write_bytes(content)
        detail = await failure(AddressSource("https://127.0.0.1:1", trusting(tmp_path / "ca.pem")))
        assert f"{tmp_path}/ca.pem can not be read as PEM certificates" in detail


def trusting(ca_file: Path) -> Download:
    """A download that trusts one file of roots."""
    return Download(timeout=timedelta(seconds=5), max_bytes=1024, ca_file=ca_file)


def serving_context(folder: Path) -> ssl.SSLContext:
    """TLS of a server whose self-signed certificate is left in cert.pem."""
    (folder / "cert.pem").write_bytes(serving_certificate("127.0.0.1"))
    (folder / "key.pem").write_bytes(
        signing_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class TestDiscovery:
    """Keys of an issuer that says itself where they are."""

    @staticmethod
    def issuer(metadata: Callable[[str], object]) -> Handler:
        """An issuer whose metadata is made of its own address."""

        async def handler(request: web.Request) -> web.Response:
            address = str(request.url.origin())
            if request.path == "/.well-known/openid-configuration":
                return web.json_response(metadata(address))
            return web.Response(body=KEYS, status=200 if request.path == "/keys" else 404)

        return handler

    @pytest.mark.parametrize("slash", ["", "/"], ids=["without slash", "with slash"])
    async def test_an_issuer_is_asked_where_its_keys_are(self, slash: str) -> None:
        """The metadata is below the issuer, and names it exactly, a final slash included."""
        handler = self.issuer(lambda address: {"issuer": address + slash, "jwks_uri": f"{address}/keys"})
        async with serving(handler) as url:
            assert await DiscoverySource(url + slash, SMALL).fetch() == KEYS

    @pytest.mark.parametrize(
        ("metadata", "problem"),
        [
            (lambda a: {"issuer": f"{a}/", "jwks_uri": f"{a}/keys"}, "must name exactly this issuer"),
            (lambda a: {"jwks_uri": f"{a}/keys"}, "must name exactly this issuer"),
            (lambda _: [], "must name exactly this issuer"),
            (lambda a: {"issuer": a}, "only https is used"),
            (lambda a: {"issuer": a, "jwks_uri": 7}, "is not an address"),
            (lambda a: {"issuer": a, "jwks_uri": "http://[::1"}, "is not an address"),
            (lambda a: {"issuer": a, "jwks_uri": "http://issuer.test/keys"}, "only https is used"),
            (lambda a: {"issuer": a, "jwks_uri": "file:///etc/passwd"}, "only https is used"),
            (lambda a: {"issuer": a, "jwks_uri": f"{a}/none"}, "status 404"),
        ],
        ids=[
            "another issuer",
            "no issuer",
            "a list",
            "no address",
            "a number",
            "no URL",
            "plain http",
            "a file",
            "no keys there",
        ],
    )
    async def test_metadata_that_leads_nowhere(self, metadata: Callable[[str], object], problem: str) -> None:
        """Each fault has its words."""
        async with serving(self.issuer(metadata)) as url:
            assert problem in await failure(DiscoverySource(url, SMALL))

    async def test_metadata_that_is_no_json(self) -> None:
        """A login page is no metadata."""
        async with serving(answering(b"<html>")) as url:
            assert await failure(DiscoverySource(url, SMALL)) == "the issuer's metadata is not JSON"

    async def test_an_issuer_elsewhere_does_not_make_us_ask_ourselves(self) -> None:
        """Metadata of a remote issuer can not send plain requests to our own services."""

        class Elsewhere(Download):
            async def get(self, url: object) -> bytes:
                return b'{"issuer": "https://issuer.test", "jwks_uri": "http://127.0.0.1:15014/metrics"}'

        source = DiscoverySource("https://issuer.test", Elsewhere(timeout=timedelta(seconds=1), max_bytes=1024))
        assert await failure(source) == "jwks_uri of the issuer's metadata must begin with https://"


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (KeysConfig(file=Path("jwks.json")), FileSource),
        (KeysConfig(url="https://issuer.test/keys"), AddressSource),
        (KeysConfig(discovery=True), DiscoverySource),
    ],
    ids=["file", "url", "discovery"],
)
def test_the_configuration_chooses_the_source(keys: KeysConfig, kind: type) -> None:
    """Exactly one of the three is configured."""
    assert type(source_of(JwksConfig(issuer="https://issuer.test", keys=keys))) is kind
