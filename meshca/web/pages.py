"""The HTTP port: metrics and health of the whole server, one answer for all workers.

Plain HTTP for Prometheus and for probes; nothing secret may be shown here, and nothing can be changed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the server can do its work now, and the state of each part.

    Attributes:
        ready: whether to send traffic here.
        detail: for people, as it appears in the answer.
    """

    ready: bool
    detail: Mapping[str, Any]


def application(
    *,
    readiness: Callable[[], Awaitable[Readiness]],
    metrics: Callable[[], bytes],
    metrics_type: str,
) -> Starlette:
    """The pages `/metrics`, `/livez` and `/readyz`.

    Args:
        readiness: asked at each `/readyz`.
        metrics: the page of metrics; called in a thread.
        metrics_type: its content type.
    """

    async def show_metrics(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics), headers={"content-type": metrics_type})

    async def show_live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def show_ready(_: Request) -> Response:
        found = await readiness()
        return JSONResponse({"ready": found.ready, **found.detail}, status_code=200 if found.ready else 503)

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/livez", show_live),
            Route("/readyz", show_ready),
        ]
    )
