"""Where issuers' keys come from: a file, an address, or OIDC discovery.

A fetch is bounded in time and size, goes to https only (plain http to loopback, for experiments), follows no
redirect, uses no proxy of the environment and unpacks nothing. What the other side says in an error is never
repeated: it may be anybody's text.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from yarl import URL

from meshca.authn.keyset import KeySource
from meshca.config.authn import JwksConfig
from meshca.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

ACCEPT: Final = "application/jwk-set+json, application/json"
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0 section 4


def source_of(config: JwksConfig) -> KeySource:
    """The source that a configuration names."""
    keys = config.keys
    if keys.file is not None:
        return FileSource(keys.file, max_bytes=keys.max_bytes)
    download = Download(timeout=keys.timeout, max_bytes=keys.max_bytes, ca_file=keys.ca_file)
    if keys.url is not None:
        return AddressSource(keys.url, download)
    return DiscoverySource(config.issuer, download)


class FileSource:
    """A JWK Set on disk; reading it each time is how changes are noticed."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes

    async def fetch(self) -> bytes:
        """The file's content.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:
            raise _failed(f"{self._path} can not be read: {error.strerror}") from None

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            content = file.read(self._max_bytes + 1)
        if len(content) > self._max_bytes:
            raise _failed(f"{self._path} has more than {self._max_bytes} bytes")
        return content


class AddressSource:
    """A JWK Set at an address."""

    def __init__(self, url: str, download: Download) -> None:
        self._url = URL(url)
        self._download = download

    async def fetch(self) -> bytes:
        """The document at the address.

        Raises:
            Unavailable: reason `issuer_keys`.
        """
        return await self._download.get(self._url)


class DiscoverySource:
    """The JWK Set that an issuer's own metadata points to, asked anew at each fetch."""

    def __init__(self, issuer: str, download: Download) -> None:
        self._issuer = issuer
        self._download = download

    async def fetch(self) -> bytes:
        """The document at the metadata's `jwks_uri`.

        Raises:
            Unavailable: reason `issuer_keys`; also when the metadata names another issuer.
        """
        metadata_url = URL(self._issuer.removesuffix("/") + DISCOVERY_PATH)
        try:
            metadata = orjson.loads(await self._download.get(metadata_url))
        except orjson.JSONDecodeError:
            raise _failed("the issuer's metadata is not JSON") from None
        if not isinstance(metadata, dict) or metadata.get("issuer") != self._issuer:
            raise _failed("the issuer's metadata must name exactly this issuer")  # section 4.3
        try:
            jwks_url = URL(metadata.get("jwks_uri", ""))
        except (TypeError, ValueError):
            raise _failed("jwks_uri of the issuer's metadata is not an address") from None
        # An issuer elsewhere must not make us ask services of our own machine in the clear.
        if jwks_url.scheme != "https" and not _is_loopback(metadata_url):
            raise _failed("jwks_uri of the issuer's metadata must begin with https://")
        return await self._download.get(jwks_url)


class Download:
    """GET with limits."""

    def __init__(self, *, timeout: timedelta, max_bytes: int, ca_file: Path | None = None) -> None:
        self._seconds = timeout.total_seconds()
        self._max_bytes = max_bytes
        self._ca_file = ca_file

    async def get(self, url: URL) -> bytes:
        """The body of a 200 answer.

        Raises:
            Unavailable: reason `issuer_keys`, with our own words about what went wrong.
        """
        import aiohttp  # a third of a worker's start, and most issuers' keys are files

        if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url)):
            raise _failed(f"{url.host}: only https is used, and http to loopback")
        # Made at each fetch: a mounted bundle of roots changes, and fetches are rare.
        context = await asyncio.to_thread(self._context)
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, auto_decompress=False, trust_env=False) as session,
                session.get(
                    url,
                    ssl=context,
                    allow_redirects=False,
                    headers={"Accept": ACCEPT, "Accept-Encoding": "identity"},
                ) as answer,
            ):
                return await self._body(url, answer)
        except TimeoutError:
            raise _failed(f"{url.host} did not answer within {self._seconds} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: aiohttp's InvalidURL and names that IDNA can not encode are among its subclasses.
            raise _failed(f"{url.host} can not be asked: {type(error).__name__}") from None

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:  # ssl.SSLError included
            raise _failed(f"{self._ca_file} can not be read as PEM certificates: {error.strerror}") from None

    async def _body(self, url: URL, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status != 200:
            raise _failed(f"{url.host} answered with status {answer.status}; expected 200 and no redirect")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _failed(f"{url.host} answered compressed, which was not asked for")
        body = bytearray()
        async for chunk in answer.content.iter_chunked(16 * 1024):
            body += chunk
            if len(body) > self._max_bytes:
                raise _failed(f"{url.host} answered with more than {self._max_bytes} bytes")
        return bytes(body)


def _is_loopback(url: URL) -> bool:
    host = url.host or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _failed(detail: str) -> Unavailable:
    return Unavailable("issuer_keys", detail)
