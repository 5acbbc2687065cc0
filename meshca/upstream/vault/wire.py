"""HTTP to the server: one bounded answer to one request, and no token to a host that nobody named.

A session of `requests` for hvac to use. It follows a redirect only with the method and body that were sent, once,
by the same scheme, to a host that the operator named; it reads no proxy, no netrc and no roots from the
environment; and it gives up when the answer is too large or not whole in time.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from meshca.printable import printable
from meshca.upstream.vault.faults import Fault, failure

LARGEST: Final = 1024 * 1024  # bytes of one answer: a chain of ten certificates of RSA-4096 has 25 KB
_PIECE: Final = 16 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FOLLOWED: Final = frozenset({307, 308})  # RFC 9110 section 15.4.8: method and body stay


class Wire(requests.Session):
    """A session for `hvac.Client`.

    Args:
        verify: file with the roots of the server's certificate; the machine's when True.
        fingerprint: SHA-256 of the server's certificate in place of roots; empty for none.
        certificate: our own certificate and key as files, for a login by TLS.
        timeout: of one call as a whole.
        redirect_hosts: `host:port` where a redirect may lead, besides the host that redirects.
        clock: seconds that only grow.
    """

    def __init__(  # noqa: PLR0913 - how a server is proven and bounded, by name
        self,
        *,
        verify: str | bool = True,
        fingerprint: str = "",
        certificate: tuple[str, str] | None = None,
        timeout: timedelta,
        redirect_hosts: Collection[str] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = verify
        self.cert = certificate
        self._timeout = timeout.total_seconds()
        self._hosts = frozenset(redirect_hosts)
        self._clock = clock
        if fingerprint:
            self.mount("https://", _Pinned(fingerprint))

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - the library's
        """One request and its whole answer.

        Raises:
            Unavailable: reason `vault_redirected`, `vault_too_large` or `vault_timeout`.
            requests.RequestException: as the library does.
        """
        deadline = self._clock() + self._timeout
        kwargs |= {"allow_redirects": False, "stream": True, "timeout": self._timeout, "verify": self.verify}
        response = super().request(method, url, *args, **kwargs)
        if response.status_code in _REDIRECTS:
            target = self._target(response)
            response.close()
            response = super().request(method, target, *args, **kwargs)
            if response.status_code in _REDIRECTS:
                response.close()
                raise failure(Fault.REDIRECTED, "twice")
        self._read(response, deadline)
        return response

    def _target(self, response: requests.Response) -> str:
        """Where a redirect leads, if we may follow it.

        Raises:
            Unavailable: reason `vault_redirected`.
        """
        here, target = urlsplit(str(response.url)), urlsplit(response.headers.get("location", ""))
        named = target.netloc == here.netloc or target.netloc in self._hosts
        if response.status_code not in _FOLLOWED or target.scheme != here.scheme or not named:
            response.close()
            raise failure(Fault.REDIRECTED, f"to {target.scheme}://{printable(target.netloc[:100])}")
        return target.geturl()

    def _read(self, response: requests.Response, deadline: float) -> None:
        """Read the body, so that `response.content` is there.

        Raises:
            Unavailable: reason `vault_too_large` or `vault_timeout`.
        """
        body = bytearray()
        with response:
            for piece in response.iter_content(_PIECE):
                body += piece
                if len(body) > LARGEST:
                    raise failure(Fault.TOO_LARGE)
                if self._clock() > deadline:
                    raise failure(Fault.TIMEOUT)
        response._content = bytes(body)  # noqa: SLF001 - what the library would have kept without a stream


class _Pinned(HTTPAdapter):
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
