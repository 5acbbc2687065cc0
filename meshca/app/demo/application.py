"""The application behind the payments' Envoy: plain HTTP on loopback, knows nothing of TLS.

It answers with the identity that Envoy proved and remembers the calls that reached it, so that a refusal can be
shown to have stopped before the application.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

_PEER = "x-forwarded-client-cert"  # set by Envoy, which drops what the caller wrote there


@dataclass(slots=True)
class Application:
    """The application while it runs.

    Attributes:
        port: its loopback port.
        callers: the proven identity of each call that reached it.
    """

    port: int = 0
    callers: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Say who called."""
        caller = _uri(request.headers.get(_PEER, ""))
        self.callers.append(caller)
        return web.Response(text=f"hello {caller or 'nobody'}\n")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Application]:
    """Serve on a free loopback port until the end of the block."""
    application = Application()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", application.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        application.port = runner.addresses[0][1]
        yield application
    finally:
        await runner.cleanup()


def _uri(header: str) -> str:
    """The peer's URI SAN, as Envoy writes it: `By=…;URI=spiffe://…`."""
    parts = header.split(";")
    return next((part.removeprefix("URI=") for part in parts if part.startswith("URI=")), "")
