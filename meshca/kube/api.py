"""One cluster's API server, asked in JSON: the only module that sends anything to it.

The library's client brings configuration, TLS and authentication; its model classes are not used, because what is
read here is read into our own frozen values at once. Every answer that is not a success becomes an error of our
tree, and one for a missing permission names the verb and the resource, as an administrator needs them for RBAC.
Bodies must never reach an error text: they hold tokens and keys.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient

from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube import answer as answers
from meshca.kube import refusal

Tree = Mapping[str, Any]
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
# A server must not send us or our tokens elsewhere, nor make us unfold what it has compressed.
_STRAIGHT: Final[Mapping[str, Any]] = {"allow_redirects": False, "auto_decompress": False}


class Conflict(MeshcaError):
    """Another writer was first (409): read again and decide anew."""

    code = 10
    public = "the object was changed by another writer"


class Rejected(MeshcaError):
    """The API server will not take this object as it is (400, 413, 415, 422); the same again cannot help."""

    code = 9
    public = "the Kubernetes API server rejected the object"


class Forbidden(Unavailable):
    """A permission is missing (403, or 401 for our own credentials); an administrator must grant it."""


class Terminating(Unavailable):
    """The namespace is being deleted and takes nothing new."""


class Gone(Unavailable):
    """A watch's resource version is too old (410): list again."""


class Api:
    """Asks one API server.

    Args:
        client: configured by `kube.connection`.
        name: our name of the cluster, for error texts.
        timeout: of one call, connection and body together.
        bounds: of what is read at once.

    Attributes:
        answered_at: the Date header of the last answer, empty before.
    """

    def __init__(
        self, client: ApiClient, name: str, timeout: timedelta, bounds: answers.Bounds = answers.HOME
    ) -> None:
        self._client = client
        self._bounds = bounds
        self._timeout = timeout.total_seconds()
        self.name = name
        self.answered_at = ""

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "", largest: int | None = None
    ) -> Tree:
        """An object, or a list; an answer of more than `largest` bytes is refused.

        Raises:
            NotFound: it does not exist.
            Forbidden: we may not read it.
            Unavailable: the API server does not answer.
        """
        return await self._ask("GET", path, query, None, "", accept, largest)

    async def create(self, path: str, body: Tree, *, largest: int | None = None) -> Tree:
        """A new object in this collection; an answer of more than `largest` bytes is refused.

        Raises:
            Conflict: it exists already.
            Rejected: it is not valid.
            NotFound, Forbidden, Unavailable: as `get`.
        """
        return await self._ask("POST", path, None, body, "application/json", "", largest)

    async def replace(self, path: str, body: Tree) -> Tree:
        """The object as it shall be now; with its resourceVersion only if nobody changed it meanwhile.

        Raises:
            Conflict: somebody has.
            Rejected, NotFound, Forbidden, Unavailable: as `create`.
        """
        return await self._ask("PUT", path, None, body, "application/json", "")

    async def apply(self, path: str, body: Tree, *, manager: str, force: bool = False) -> Tree:
        """Server-side apply: own exactly the fields of `body`, create the object if need be.

        Raises:
            Conflict: another manager owns one of the fields, and `force` is false.
            Rejected, NotFound, Forbidden, Unavailable: as `create`.
        """
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._ask("PATCH", path, query, body, APPLY, "")

    async def merge(self, path: str, body: Tree) -> Tree:
        """Merge into the object (RFC 7386).

        Raises:
            Conflict, Rejected, NotFound, Forbidden, Unavailable: as `create`.
        """
        return await self._ask("PATCH", path, None, body, MERGE, "")

    async def delete(self, path: str) -> None:
        """Remove the object.

        Raises:
            Conflict, Rejected, NotFound, Forbidden, Unavailable: as `create`.
        """
        await self._ask("DELETE", path, None, None, "", "")

    async def watch(self, path: str, query: Mapping[str, str], *, seconds: float) -> AsyncIterator[Tree]:
        """The events of a collection, until the API server ends the watch or is silent for too long.

        Args:
            path: of the collection.
            query: resourceVersion and selectors.
            seconds: after which the server shall end it; asked anew then, so that a dead connection is noticed.

        Raises:
            Gone: the resource version is too old.
            NotFound, Forbidden, Unavailable: as `get`.
        """
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds))}
        deadline = aiohttp.ClientTimeout(total=seconds + self._timeout, sock_connect=self._timeout)
        response = await self._send("GET", path, asked, None, "", "", deadline)
        try:
            if response.status >= 400:
                self._refuse("watch", path, response.status, await self._read(response))
            async for line in self._lines(response):
                yield self._event(path, line)
        finally:
            response.close()

    def _event(self, path: str, line: bytes) -> Tree:
        event: Tree = orjson.loads(line)
        if event["type"] == "ERROR":
            status = event["object"]
            self._refuse("watch", path, int(status.get("code", 500)), orjson.dumps(status))
        return event

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for line in answers.lines(response.content.iter_any(), self._bounds.event, self.name):
                yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silent(error) from None

    async def _ask(  # noqa: PLR0913, PLR0917 - a request's parts
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Tree | None,
        kind: str,
        accept: str,
        largest: int | None = None,
    ) -> Tree:
        deadline = aiohttp.ClientTimeout(total=self._timeout)
        response = await self._send(method, path, query, body, kind, accept, deadline)
        self.answered_at = response.headers.get("Date", "")
        try:
            answer = await self._read(response, largest)
        finally:
            response.release()
        if response.status >= 400:
            self._refuse(refusal.verb_of(method, path), path, response.status, answer)
        try:
            tree: Tree = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise Unavailable(
                "kube_answer", f"{self.name}: {path} was answered with something that is not JSON"
            ) from None
        return tree

    async def _send(  # noqa: PLR0913, PLR0917 - as above
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Tree | None,
        kind: str,
        accept: str,
        deadline: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept or "application/json", "Accept-Encoding": "identity"}
        if kind:
            headers["Content-Type"] = kind
        asked = f"{path}?{urlencode(query)}" if query else path
        try:
            method, url, headers, _, _ = await self._client.param_serialize(
                method, asked, header_params=headers, auth_settings=["BearerToken"]
            )
            # The library's own request would serialise and retry; ours is one request with one deadline.
            session = self._session()
            data = None if body is None else orjson.dumps(body)
            response = await session.request(
                method, url, headers=headers, data=data, timeout=deadline, **self._connection(), **_STRAIGHT
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError) as error:
            raise self._silent(error) from None
        try:
            answers.refuse_detours(response.status, response.headers, self.name)
        except Unavailable:
            response.close()
            raise
        return response

    def _session(self) -> aiohttp.ClientSession:
        rest = self._client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - documented for subclasses to override
        session: aiohttp.ClientSession = rest.pool_manager
        return session

    def _connection(self) -> dict[str, Any]:
        """What a kubeconfig may say about the way to its server."""
        configuration = self._client.configuration
        said = {
            "server_hostname": configuration.tls_server_name,
            "proxy": configuration.proxy,
            "proxy_headers": configuration.proxy_headers,
        }
        return {name: value for name, value in said.items() if value}

    async def _read(self, response: aiohttp.ClientResponse, largest: int | None = None) -> bytes:
        most = self._bounds.answer if largest is None else largest
        try:
            return await answers.whole(response.content.iter_any(), most, self.name)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silent(error) from None

    def _silent(self, error: BaseException) -> Unavailable:
        why = (
            "did not answer in time"
            if isinstance(error, TimeoutError | asyncio.TimeoutError)
            else "cannot be reached"
        )
        return Unavailable("kube_unreachable", f"{self.name}: the API server {why} ({type(error).__name__})")

    def _refuse(self, verb: str, path: str, status: int, answer: bytes) -> None:
        """Raise what an answer that is no success means."""
        what = f"{self.name}: {verb} {refusal.resource_of(path)}"
        if status == 403 and refusal.is_terminating(answer):
            raise Terminating("kube_terminating", f"{what}: the namespace is being deleted")
        if status in {401, 403}:
            if named := refusal.missing_permission(answer):
                what = f"{self.name}: {named}"
            raise Forbidden("kube_forbidden", f"{what}: {_FORBIDDEN[status]}")
        if status == 404:
            raise NotFound("kube_not_found", f"{what}: not found")
        if status == 409:
            raise Conflict("kube_conflict", f"{what}: {refusal.reason_of(answer)}")
        if status == 410:
            raise Gone("kube_gone", f"{what}: the resource version is too old")
        if status in {400, 413, 415, 422}:
            why = "too large" if refusal.is_too_long(answer) else refusal.reason_of(answer)
            raise Rejected("kube_rejected", f"{what}: rejected with {status} ({why})")
        raise Unavailable(
            "kube_unreachable", f"{what}: the API server answered {status} ({refusal.reason_of(answer)})"
        )


_FORBIDDEN: Final = {
    401: "our own credentials are not accepted; is our service-account token or kubeconfig still valid?",
    403: "forbidden; grant this verb on this resource to our service account (the chart's Roles do)",
}
