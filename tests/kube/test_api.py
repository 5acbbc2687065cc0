"""Answers of an API server and what they mean; tests/e2e/kube/test_api.py asks a real one."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import pytest
from aiohttp import web

from meshca.errors import MeshcaError, NotFound, Unavailable
from meshca.kube.answer import HOME, REMOTE, Bounds, TooLarge
from meshca.kube.api import Api, Conflict, Forbidden, Gone, Rejected
from tests.fakes.kube_server import answering, asking, scripted, status

PODS = "/api/v1/namespaces/shop/pods"


async def watched(api: Api) -> list[Any]:
    """All events of a watch."""
    return [event async for event in api.watch(PODS, {"resourceVersion": "1"}, seconds=2)]


@pytest.mark.parametrize(
    ("code", "kind", "slug"),
    [
        (400, Rejected, "kube_rejected"),
        (401, Forbidden, "kube_forbidden"),
        (403, Forbidden, "kube_forbidden"),
        (404, NotFound, "kube_not_found"),
        (409, Conflict, "kube_conflict"),
        (410, Gone, "kube_gone"),
        (413, Rejected, "kube_rejected"),
        (415, Rejected, "kube_rejected"),
        (422, Rejected, "kube_rejected"),
        (429, Unavailable, "kube_unreachable"),
        (500, Unavailable, "kube_unreachable"),
        (503, Unavailable, "kube_unreachable"),
    ],
)
async def test_refusals(code: int, kind: type[MeshcaError], slug: str) -> None:
    """Each status is its own error, named by verb and resource, without the server's message."""
    async with scripted(answering(status("SomeReason", code), code)) as api:
        with pytest.raises(kind) as caught:
            await api.create(PODS, {})
    assert type(caught.value) is kind
    assert caught.value.reason == slug
    assert caught.value.detail.startswith("home: create pods in shop: ")
    assert "private words" not in caught.value.detail


@pytest.mark.parametrize(
    ("path", "verb"),
    [
        (PODS, "list pods in shop"),
        (f"{PODS}/web-0", "get pods in shop"),
        (f"{PODS}/web-0/status", "get pods/status in shop"),
        ("/api/v1/namespaces", "list namespaces"),
        ("/api/v1/namespaces/shop", "get namespaces"),
        ("/apis/coordination.k8s.io/v1/namespaces/shop/leases", "list leases.coordination.k8s.io in shop"),
    ],
)
async def test_reading_verbs(path: str, verb: str) -> None:
    """To read a collection is to list it, as RBAC calls it."""
    async with scripted(answering(status("Forbidden", 403), 403)) as api:
        with pytest.raises(Forbidden) as caught:
            await api.get(path)
    assert caught.value.detail.startswith(f"home: {verb}: forbidden")


@pytest.mark.parametrize(
    ("call", "method", "kind"),
    [
        (lambda api: api.get(PODS), "GET", "application/json"),
        (lambda api: api.create(PODS, {"a": 1}), "POST", "application/json"),
        (lambda api: api.replace(PODS, {"a": 1}), "PUT", "application/json"),
        (lambda api: api.merge(PODS, {"a": 1}), "PATCH", "application/merge-patch+json"),
        (lambda api: api.apply(PODS, {"a": 1}, manager="m"), "PATCH", "application/apply-patch+yaml"),
        (lambda api: api.delete(PODS), "DELETE", "application/json"),
    ],
    ids=["get", "create", "replace", "merge", "apply", "delete"],
)
async def test_calls(call: Any, method: str, kind: str) -> None:
    """Each call has its method and content type, and sends its body as JSON."""
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("Content-Type", ""), await request.read()))
        return web.json_response({})

    async with scripted(handler) as api:
        await call(api)
    [(used, said, body)] = seen
    assert used == method
    if body:
        assert (said, orjson.loads(body)) == (kind, {"a": 1})


async def test_apply_says_who_and_whether_by_force() -> None:
    """The field manager and force go into the query."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        return web.json_response({})

    async with scripted(handler) as api:
        await api.apply(PODS, {}, manager="meshca", force=True)
    assert asked == ["fieldManager=meshca&force=true"]


async def test_accept() -> None:
    """The kind of answer can be chosen: the keys of a cluster have one of their own."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"asked": request.headers["Accept"]})

    async with scripted(handler) as api:
        found = await api.get("/openid/v1/jwks", accept="application/jwk-set+json")
    assert found == {"asked": "application/jwk-set+json"}


async def test_silence() -> None:
    """A server that does not answer in time is Unavailable."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with scripted(handler, seconds=0.05) as api:
        with pytest.raises(Unavailable, match="did not answer in time"):
            await api.get("/version")


async def test_nobody_there() -> None:
    """A refused connection is Unavailable."""
    async with asking("http://127.0.0.1:1") as api:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await api.get("/version")


@pytest.mark.parametrize("body", [b"<html>", b'{"a":', b""], ids=["html", "half", "nothing"])
async def test_not_json(body: bytes) -> None:
    """An answer that is not JSON, as a proxy gives, is Unavailable."""
    async with scripted(answering(body)) as api:
        with pytest.raises(Unavailable, match="not JSON"):
            await api.get("/version")


@pytest.mark.parametrize("bounds", [HOME, REMOTE], ids=["home", "remote"])
async def test_too_large(bounds: Bounds) -> None:
    """An answer without end is not read to its end."""
    async with scripted(answering(b"x" * (bounds.answer + 1)), bounds=bounds) as api:
        with pytest.raises(TooLarge, match=f"larger than {bounds.answer} bytes") as caught:
            await api.get(PODS)
    assert caught.value.reason == "kube_answer"


async def test_a_call_may_have_a_bound_of_its_own() -> None:
    """Of what is small, less is read."""
    async with scripted(answering(b"x" * 2000)) as api:
        with pytest.raises(TooLarge, match="larger than 1000 bytes"):
            await api.get("/version", largest=1000)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [lambda api: api.create(PODS, {"token": "t"}), watched], ids=["create", "watch"])
async def test_redirects(call: Any, code: int) -> None:
    """None is followed: where it leads, our tokens must not go."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=code, headers={"Location": "/elsewhere"})

    async with scripted(handler) as api:
        with pytest.raises(Unavailable, match=rf"redirect \({code}\)") as caught:
            await call(api)
    assert caught.value.reason == "kube_answer"
    assert asked == [PODS]


async def test_compressed() -> None:
    """It is asked for plain, and an answer that would unfold is refused unread."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        body = gzip.compress(b"x" * 1_000_000)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    async with scripted(handler) as api:
        with pytest.raises(Unavailable, match="encoding that was not asked for") as caught:
            await api.get(PODS)
        with pytest.raises(Unavailable, match="encoding that was not asked for"):
            await watched(api)
    assert caught.value.reason == "kube_answer"
    assert asked == ["identity"] * 2


async def test_an_own_token_that_cannot_be_read() -> None:
    """The file of our own token may be missing for a moment; the call fails as one that may be repeated."""
    async with scripted(answering({})) as api:

        def gone(_: object) -> None:
            raise FileNotFoundError

        api._client.configuration.api_key["BearerToken"] = ""
        api._client.configuration.refresh_api_key_hook = gone
        with pytest.raises(Unavailable, match="FileNotFoundError"):
            await api.get("/version")


def lines(*events: object, end: bytes = b"") -> Any:
    """A watch that gives these events and ends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(orjson.dumps(event) + b"\n")
        await response.write(end)
        return response

    return handler


class TestWatch:
    """Events, and how a watch ends."""

    async def test_events(self) -> None:
        """They come one by one, until the server ends it."""
        events = [{"type": "ADDED", "object": {"a": 1}}, {"type": "DELETED", "object": {"a": 1}}]
        async with scripted(lines(*events)) as api:
            assert await watched(api) == events

    async def test_half_an_event_at_the_end_is_none(self) -> None:
        """A connection that is cut in the middle of an event gives the whole ones."""
        event = {"type": "ADDED", "object": {"a": 1}}
        async with scripted(lines(event, end=b'{"type": "ADD')) as api:
            assert await watched(api) == [event]

    async def test_what_is_asked(self) -> None:
        """Bookmarks and a time limit are asked for."""
        asked: dict[str, str] = {}

        async def handler(request: web.Request) -> web.Response:
            asked.update(request.query)
            return web.Response()

        async with scripted(handler) as api:
            await watched(api)
        assert asked == {
            "resourceVersion": "1",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "2",
        }

    @pytest.mark.parametrize("code", [410, 403, 500])
    async def test_error_as_an_event(self, code: int) -> None:
        """A failure that comes as an event is the same error as one that comes as a status."""
        kinds = {410: Gone, 403: Forbidden, 500: Unavailable}
        async with scripted(lines({"type": "ERROR", "object": status("Expired", code)})) as api:
            with pytest.raises(kinds[code]):
                await watched(api)

    async def test_refused(self) -> None:
        """A watch that may not begin says so."""
        async with scripted(answering(status("Forbidden", 403), 403)) as api:
            with pytest.raises(Forbidden, match="watch pods in shop"):
                await watched(api)

    async def test_cut(self) -> None:
        """A connection that breaks is Unavailable."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            assert request.transport is not None
            request.transport.abort()
            return response

        async with scripted(handler) as api:
            with pytest.raises(Unavailable):
                await watched(api)

    @pytest.mark.parametrize(("bounds", "mib"), [(REMOTE, 8), (HOME, 16)], ids=["remote", "home"])
    async def test_too_large(self, bounds: Bounds, mib: int) -> None:
        """An event without end is not read to its end."""
        async with scripted(lines(end=b"x" * mib * 1024 * 1024), bounds=bounds) as api:
            with pytest.raises(TooLarge, match=f"larger than {bounds.event} bytes") as caught:
                await watched(api)
        assert caught.value.reason == "kube_answer"
