"""Facts about the HTTP pages."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from meshca.web.pages import Readiness, application


def pages(*, ready: bool = True) -> Starlette:
    """The pages of a server in this state."""

    async def readiness() -> Readiness:
        return Readiness(ready=ready, detail={"workers": [{"name": "w0"}]})

    return application(
        readiness=readiness, metrics=lambda: b"meshca_x 1\n", metrics_type="text/plain; version=0.0.4"
    )


async def ask(app: Starlette, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, content type and body, by the ASGI protocol itself."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers.get(b"content-type", b"").decode(), sent[1]["body"]


async def test_metrics() -> None:
    """The metrics page is what was rendered, with Prometheus' content type."""
    assert await ask(pages(), "/metrics") == (200, "text/plain; version=0.0.4", b"meshca_x 1\n")


async def test_live() -> None:
    """A process that answers is live, ready or not."""
    assert (await ask(pages(ready=False), "/livez"))[0] == 200


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_ready(*, ready: bool, status: int) -> None:
    """Readiness is 200 or 503, with the detail of each part."""
    found, _, body = await ask(pages(ready=ready), "/readyz")
    assert found == status
    assert body == f'{{"ready":{str(ready).lower()},"workers":[{{"name":"w0"}}]}}'.encode()


@pytest.mark.parametrize(("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405)])
async def test_nothing_else(path: str, method: str, status: int) -> None:
    """There are no other pages, and nothing can be posted."""
    assert (await ask(pages(), path, method))[0] == status
