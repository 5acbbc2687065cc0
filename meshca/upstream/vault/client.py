"""The one door to hvac: a call goes in, an `Answer` or a fault comes out, and the event loop never waits.

hvac and `requests` block, so calls run in a thread of our own, one at a time. hvac's adapter is used and not its
methods: those cannot name an issuer (`sign_intermediate` has only the default one) and hide statuses such as 473.
Nothing is repeated here: what a failure means for a token is `upstream.vault.session`'s, and when to try again the
caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import hvac
import requests
from hvac.adapters import RawAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from meshca.errors import Unavailable
from meshca.secret import Secret
from meshca.upstream.vault.answer import Answer, errors_in, parsed, read_answer
from meshca.upstream.vault.faults import Fault, Throttled, failure
from meshca.upstream.vault.one_thread import OneThread
from meshca.upstream.vault.statuses import GOOD, fault_for
from meshca.upstream.vault.wire import Wire

NOBODY: Final = Secret("")
_SECONDS: Final = re.compile(r"[0-9]{1,6}")  # RFC 9110 section 10.2.3; its other form, a date, is not used
Method = Literal["get", "post"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the server is and what proves it.

    Attributes:
        address: `https://host:port`.
        namespace: empty for none.
        wire: how it is reached.
    """

    address: str
    namespace: str
    wire: Wire


@contextlib.asynccontextmanager
async def connect(place: Place) -> AsyncIterator[Client]:
    """A client; nothing is asked yet. A call that hangs at the end of the block is left to its own deadline.

    The end of the process does not wait for that.
    """
    thread = OneThread("vault")
    try:
        yield Client(place, thread)
    finally:
        thread.submit(place.wire.close)  # after a call that still runs, whose connection would be left open
        thread.shutdown()


class Lanes:
    """Clients for many calls at once: each is one caller's at a time, and the others wait for their turn.

    Args:
        clients: each with a connection of its own.
        most: callers that may wait.
    """

    def __init__(self, clients: Sequence[Client], most: int) -> None:
        self._free: asyncio.Queue[Client] = asyncio.Queue()
        for client in clients:
            self._free.put_nowait(client)
        self._most = most
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[Client]:
        """A client for the block; it is the next one's once its calls are over, also one that was given up.

        Args:
            seconds: that one waits for it.

        Raises:
            Unavailable: reason `leaf_waiting`: too many wait already, or none was free in time.
        """
        client = await self._next(seconds)
        try:
            yield client
        finally:
            client.over().add_done_callback(lambda _: self._free.put_nowait(client))

    async def _next(self, seconds: float) -> Client:
        if self._waiting >= self._most:
            raise Unavailable("leaf_waiting", f"{self._most} leaves wait for their turn at Vault already")
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                return await self._free.get()
        except TimeoutError:
            problem = f"no turn at Vault came within {seconds:g} s; see how many leaves it signs in a second"
            raise Unavailable("leaf_waiting", problem) from None
        finally:
            self._waiting -= 1


class Client:
    """Asks; use `connect`."""

    def __init__(self, place: Place, thread: OneThread) -> None:
        # Every argument that hvac would otherwise fill from VAULT_* or ~/.vault-token is given.
        self._hvac = hvac.Client(
            url=place.address,
            token="",
            cert=(),
            verify=place.wire.verify,
            namespace=None,  # hvac would name it in every call
            session=place.wire,
            adapter=RawAdapter,
        )
        self._namespace = place.namespace
        self._thread = thread
        self._wire = place.wire

    async def reconnect(self) -> None:
        """Let the next call open a new connection, which shows the certificate that is in our files then."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._wire.close)

    def over(self) -> asyncio.Future[None]:
        """Done once every call is over that was made until now."""
        return asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)

    async def call(
        self, method: Method, path: str, body: Mapping[str, object] | None = None, *, token: Secret[str] = NOBODY
    ) -> Answer:
        """One call.

        Args:
            method: of HTTP.
            path: below `/v1/`.
            body: sent as JSON.
            token: that is shown; nobody's by default.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._call, method, path, body, token, self._namespace
        )

    async def of_server(self, path: str) -> Answer:
        """A page about the whole server, as nobody and outside our namespace: inside it is refused.

        Raises:
            Unavailable: reason `vault_<fault>`.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._call, "get", path, None, NOBODY, ""
        )

    def _call(
        self, method: Method, path: str, body: Mapping[str, object] | None, token: Secret[str], namespace: str
    ) -> Answer:
        shown = {"X-Vault-Token": token.reveal(), "X-Vault-Namespace": namespace}
        headers = {name: value for name, value in shown.items() if value}
        request = self._hvac.adapter.request
        try:
            response = request(method, f"/v1/{path}", headers=headers, raise_exception=False, json=body)
        except (requests.RequestException, HTTPError) as error:
            raise failure(_fault_of_transport(error)) from None
        except OSError:  # what the library raises for a file that it is to read at each connection
            raise failure(Fault.UNTRUSTED, "a file of upstream.ca_file or upstream.login.cert is gone") from None
        status, said = response.status_code, parsed(response.content)
        if status in GOOD:
            return read_answer(said)
        fault = fault_for(status, errors_in(said), logged_in=bool(token.reveal()))
        told = failure(fault, f"HTTP status {status} at {path}")
        hint = response.headers.get("retry-after", "")
        raise Throttled(told, float(hint)) if fault is Fault.RATE_LIMITED and _SECONDS.fullmatch(hint) else told


def _fault_of_transport(error: requests.RequestException | HTTPError) -> Fault:
    """What kept an answer from coming."""
    if isinstance(error, requests.exceptions.SSLError):
        return Fault.UNTRUSTED
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Fault.UNREACHABLE
    if isinstance(error, requests.Timeout) or isinstance(_cause(error), ReadTimeoutError):
        return Fault.TIMEOUT
    return Fault.UNREACHABLE


def _cause(error: requests.RequestException | HTTPError) -> object:
    return error.args[0] if error.args else None
