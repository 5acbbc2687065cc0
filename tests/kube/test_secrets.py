"""Secrets over an API server that answers as a real one seldom does; the contract runs in tests/e2e/kube."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from meshca.authority.secret_source import Overtaken, StoredSecret
from meshca.errors import ConfigError, MeshcaError, Unavailable
from meshca.kube.secrets import KubeSecrets
from tests.fakes.clock import FakeClock
from tests.fakes.kube_server import Handler, answering, scripted, status

NAMES = ("cacerts", "istio-ca-secret")
SECRET = StoredSecret(name="cacerts", kind="Opaque", contents={"ca-key.pem": b"PRIVATE"}, version="7")
Ask = Callable[[KubeSecrets], Awaitable[Any]]


async def refusal(handler: Handler, ask: Ask) -> MeshcaError:
    """What is raised when the API server answers like this."""
    async with scripted(handler) as api:
        with pytest.raises(MeshcaError) as caught:
            await ask(KubeSecrets(api, "mesh", NAMES, FakeClock()))
    return caught.value


@pytest.mark.parametrize(
    ("ask", "code", "kind", "detail"),
    [
        (lambda s: s.read(), 403, Unavailable, "home: get secrets in mesh: forbidden; grant this verb"),
        (lambda s: s.create(SECRET), 403, Unavailable, "home: create secrets in mesh: forbidden"),
        (lambda s: s.replace(SECRET), 403, Unavailable, "home: update secrets in mesh: forbidden"),
        (lambda s: s.read(), 503, Unavailable, "home: get secrets in mesh: the API server answered 503"),
        (lambda s: s.create(SECRET), 409, Overtaken, "create secrets in mesh"),
        (lambda s: s.replace(SECRET), 409, Overtaken, "update secrets in mesh"),
        (lambda s: s.replace(SECRET), 404, Overtaken, "not found"),
        (lambda s: s.create(SECRET), 404, Unavailable, "namespace mesh does not exist; make it"),
        (lambda s: s.create(SECRET), 422, ConfigError, "Secret cacerts in namespace mesh: "),
        (lambda s: s.replace(SECRET), 413, ConfigError, "rejected with 413"),
    ],
    ids=[
        "read-forbidden",
        "create-forbidden",
        "replace-forbidden",
        "down",
        "exists",
        "changed",
        "gone",
        "no-namespace",
        "invalid",
        "too-large",
    ],
)
async def test_refusals(ask: Ask, code: int, kind: type[MeshcaError], detail: str) -> None:
    """Each refusal is an error of the port that names verb and resource; contents are never told."""
    error = await refusal(answering(status("Reason", code), code), ask)
    assert isinstance(error, kind)
    assert detail in error.detail
    assert "PRIVATE" not in str(error)


@pytest.mark.parametrize("ask", [lambda s: s.read(), lambda s: s.create(SECRET), lambda s: s.replace(SECRET)])
async def test_the_secret_is_named(ask: Ask) -> None:
    """A Role may name Secrets one by one, so a missing permission says which one it is for."""
    error = await refusal(answering(status("Forbidden", 403), 403), ask)
    assert error.detail.endswith("; the Secret is cacerts")


async def test_damaged_answer() -> None:
    """Contents that are not base64 are an answer that cannot be used, and are not repeated."""
    item = {"metadata": {"name": "cacerts", "resourceVersion": "1"}, "data": {"ca-key.pem": "!PRIVATE!"}}
    error = await refusal(answering(item), lambda secrets: secrets.read())
    assert (error.reason, "PRIVATE" in str(error)) == ("kube_answer", False)


async def test_one_watch_for_each_name() -> None:
    """Each Secret is listed and watched by its name, so that a Role with `resourceNames` is enough."""
    asked: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(("watch" if "watch" in request.query else "list", request.query.get("fieldSelector")))
        if "watch" in request.query:
            await asyncio.sleep(3600)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async with scripted(handler) as api:
        task = asyncio.create_task(KubeSecrets(api, "mesh", NAMES, FakeClock()).run())
        async with asyncio.timeout(10):
            while len(asked) < 4:  # noqa: ASYNC110 - a real server answers
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sorted(asked) == [(verb, f"metadata.name={name}") for verb in ("list", "watch") for name in NAMES]
