"""HTTP to the server: one bounded answer to one request, and no token to a host that nobody named.

A session of `requests` for hvac to use. It follows a redirect only with the method and body that were sent, once,
by the same scheme, to a host that the operator named; it reads no proxy, no netrc and no roots from the
environment; and it gives up when the answer is too large, or not whole in time however steadily it drips.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Collection
from datetime import timedelta
from http.client import HTTPResponse
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from meshca.printable import printable
from meshca.upstream.vault.faults import Fault, failure

LARGEST: Final = 1024 * 1024  # bytes of one answer: a chain of ten certificates of RSA-4096 has 25 KB
_PIECE: Final = 16 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FOLLOWED: Final = frozenset({307, 308})  # RFC 9110 section 15.4.8: method and body stay
_PORTS: Final = {"http": 80, "https": 443}
_SHOWN: Final = 200  # characters of an address that is not ours


class Wire(requests.Session):
    """A session for `hvac.Client`.

    Args:
        verify: file with the roots of the server's certificate; the machine's when True.
        fingerprint: SHA-256 of the server's certificate in place of roots; empty for none.
        certificate: our own certificate and key as files, for a login by TLS.
        timeout: of each of these as a whole: connecting, TLS, sending, the answer.
        redirect_hosts: `host:port` where a redirect may lead, besides the host that redirects.
    """

    def __init__(
        self,
        *,
        verify: str | bool = True,
        fingerprint: str = "",
        certificate: tuple[str, str] | None = None,
        timeout: timedelta,
        redirect_hosts: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = verify
        self.cert = certificate
        self._timeout = timeout.total_seconds()
        self._hosts = frozenset(host.lower() for host in redirect_hosts)
        self.headers["Accept-Encoding"] = "identity"  # nothing small that grows as it is unpacked
        self.mount("https://", _Pinned(fingerprint) if fingerprint else _Timed())
        self.mount("http://", _Timed())

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the library's
        """One request and its whole answer.

        Raises:
            Unavailable: reason `vault_redirected` or `vault_too_large`.
            requests.RequestException: as the library does.
        """
        kwargs |= {"allow_redirects": False, "stream": True, "timeout": self._timeout, "verify": self.verify}
        response = super().request(method, url, *args, **kwargs)
        if response.status_code in _REDIRECTS:
            target = self._target(response)
            response.close()
            response = super().request(method, target, *args, **kwargs)
            if response.status_code in _REDIRECTS:
                response.close()
                raise failure(Fault.REDIRECTED, "twice")
        _read(response)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - the library's
        """Nowhere: the library would read the body of a redirect without a bound before it asks us."""
        return None

    def _target(self, response: requests.Response) -> str:
        """Where a redirect leads, if we may follow it.

        Raises:
            Unavailable: reason `vault_redirected`.
        """
        location = response.headers.get("location", "")
        here, target = _split(str(response.url)), _split(location)
        named = target.netloc in {here.netloc, *self._hosts}
        if named and response.status_code in _FOLLOWED and target.scheme == here.scheme:
            return target.geturl()
        response.close()
        raise failure(Fault.REDIRECTED, f"to {printable(location[:_SHOWN])}")


def _split(address: str) -> SplitResult:
    """An address with `host:port`, and as nobody; nothing when it is none."""
    try:
        url = urlsplit(address)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return url._replace(netloc=f"{host}:{url.port or _PORTS[url.scheme]}")
    except (ValueError, KeyError):
        return urlsplit("")


def _read(response: requests.Response) -> None:
    """Read the body, so that `response.content` is there.

    Raises:
        Unavailable: reason `vault_too_large`.
    """
    body = bytearray()
    with response:
        for piece in response.iter_content(_PIECE):
            body += piece
            if len(body) > LARGEST:
                raise failure(Fault.TOO_LARGE)
    response._content = bytes(body)  # noqa: SLF001 - what the library would have kept without a stream


class _Dripping(io.RawIOBase):
    """The bytes of one answer; each wait for more is as long as what is left of the time for the whole.

    A socket's own timeout is for each wait anew, so that a byte at a time would hold us for ever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._whole = sock.gettimeout() or 0.0
        self._deadline = monotonic() + self._whole

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - the library's
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._whole)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_Dripping(raw, sock))


class _Http(HTTPConnection):
    response_class = _Answer


class _Https(HTTPSConnection):
    response_class = _Answer


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class _Timed(HTTPAdapter):
    """Connections whose answers are whole in time, or not at all."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Pinned(_Timed):
    """TLS to a server that is known by its certificate, whoever signed it and whatever its names."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the library's
        kwargs |= {"assert_fingerprint": self._fingerprint, "assert_hostname": False}
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ANN401, ARG002 - the library's
        super().cert_verify(conn, url, False, cert)  # the fingerprint decides
        conn.cert_reqs = ssl.CERT_NONE
