"""The demo's application believes Envoy's word about the caller, and remembers it."""

from __future__ import annotations

import aiohttp
import pytest

from meshca.app.demo import application

WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        (f"By=spiffe://cluster.local/ns/shop/sa/payments;Hash=abc;URI={WEB}", WEB),
        (f"URI={WEB}", WEB),
        ("", ""),
    ],
    ids=["with others", "alone", "none"],
)
async def test_the_caller_is_what_envoy_proved(header: str, caller: str) -> None:
    """It is answered and remembered."""
    async with application.serving() as served, aiohttp.ClientSession() as session:
        headers = {"x-forwarded-client-cert": header} if header else {}
        async with session.get(f"http://127.0.0.1:{served.port}/charges", headers=headers) as answer:
            assert await answer.text() == f"hello {caller or 'nobody'}\n"
    assert served.callers == [caller]
