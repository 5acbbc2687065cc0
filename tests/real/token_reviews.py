"""A Kubernetes API that only reviews tokens, for logins of a Vault by a service account."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aiohttp import web

from tests.fakes.tokens import assembled


class Reviews:
    """A Kubernetes API that reviews tokens: those of one service account are good."""

    def __init__(self) -> None:
        self.good: set[str] = set()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Its address."""
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _review(self, request: web.Request) -> web.Response:
        review = await request.json()
        good = review["spec"]["token"] in self.good
        user = {"username": "system:serviceaccount:mesh:meshca", "uid": "one", "groups": []}
        status = {"authenticated": good, "user": user, "audiences": ["vault"]} if good else {"error": "no"}
        return web.json_response({**review, "status": status})


@functools.cache
def projected(number: int) -> str:
    """A token of our service account; only the review proves it."""
    about = {"namespace": "mesh", "serviceaccount": {"name": "meshca", "uid": "one"}}
    now = int(datetime.now(UTC).timestamp())
    times = {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}
    claims = {"sub": "system:serviceaccount:mesh:meshca", "aud": ["vault"], "iss": "kubernetes", **times}
    return assembled({"alg": "RS256", "typ": "JWT"}, {**claims, "jti": str(number), "kubernetes.io": about})
