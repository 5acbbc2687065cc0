"""What a client makes of a hint when to come again, and of files that are taken away while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from meshca.errors import Unavailable
from meshca.upstream.vault.client import Place, connect
from meshca.upstream.vault.faults import Throttled
from meshca.upstream.vault.wire import Wire
from tests.fakes.pki import make_ca


@contextlib.asynccontextmanager
async def answering(status: int, hint: str) -> AsyncIterator[str]:
    """The address of a server that refuses everything."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errors": ["no"]}, status=status, headers={"Retry-After": hint})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refused(status: int, hint: str) -> Unavailable:
    """What a call fails with."""
    async with answering(status, hint) as address:
        place = Place(address=address, namespace="", wire=Wire(timeout=timedelta(seconds=10)))
        async with connect(place) as client:
            with pytest.raises(Unavailable) as failed:
                await client.call("get", "pki/issuers")
    return failed.value


async def test_hint() -> None:
    """A quota that says how many seconds is told with them."""
    error = await refused(429, "17")
    assert isinstance(error, Throttled)
    assert (error.reason, error.retry_after) == ("vault_rate_limited", 17.0)


@pytest.mark.parametrize(("status", "hint"), [(429, "soon"), (429, "-1"), (429, ""), (429, "9" * 40), (503, "17")])
async def test_no_hint(status: int, hint: str) -> None:
    """What is no number of seconds, or of another fault, is no hint."""
    assert type(await refused(status, hint)) is Unavailable


async def test_file_goes_away(tmp_path: Path) -> None:
    """When the file of TLS roots is taken away the call fails with a text that names the field."""
    roots = tmp_path / "roots.pem"
    roots.write_text(make_ca("root").pem)
    wire = Wire(verify=str(roots), timeout=timedelta(seconds=10))
    async with connect(Place(address="https://127.0.0.1:1", namespace="", wire=wire)) as client:
        roots.unlink()
        with pytest.raises(Unavailable, match=r"vault_untrusted: .*upstream\.ca_file") as failed:
            await client.call("get", "pki/issuers")
    assert str(roots) not in failed.value.detail
