"""Seeing what a TLS server presents."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509

from meshca.agent.presented import presented_chain
from meshca.agent.target import Target
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from meshca.wire import handshake
from tests.fakes.ca import FakeCa, serving_ca


async def test_the_whole_chain_is_seen_root_included() -> None:
    """In the server's order, though nothing of it is trusted."""
    ca = FakeCa(SystemClock())
    async with serving_ca(ca) as serving:
        chain = await presented_chain(serving.token, "", 10)
    assert len(chain) == 3
    assert chain[1:] == (ca.signer.certificate, ca.root.certificate)
    assert isinstance(chain[0], x509.Certificate)


async def test_no_tls_server_is_an_error() -> None:
    """One that says what to check."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="--endpoint"):
            await presented_chain(Target(host="127.0.0.1", port=port), "", 10)


async def test_a_certificate_that_does_not_parse_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of ours."""
    monkeypatch.setattr(handshake, "_chain", lambda _: [b"garbage"])
    async with serving_ca(FakeCa(SystemClock())) as serving:
        with pytest.raises(Unavailable) as caught:
            await presented_chain(serving.token, "", 10)
    assert caught.value.reason == "bad_answer"
