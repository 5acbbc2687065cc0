"""Seeing what a TLS server shows."""

from __future__ import annotations

import asyncio

import pytest

from meshca.clock import SystemClock
from meshca.wire import handshake
from meshca.wire.handshake import shake_hands
from tests.fakes.ca import FakeCa, serving_ca


async def test_chain_and_protocol() -> None:
    """The whole chain in the server's order, and what it speaks."""
    ca = FakeCa(SystemClock())
    async with serving_ca(ca) as serving:
        target = serving.token
        shown = await asyncio.to_thread(shake_hands, target.host, target.port, "localhost", 10)
    assert len(shown.chain) == 3
    assert shown.protocol == "h2"


async def test_no_tls_server() -> None:
    """Is the system's error."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match=r"EOF|reset|Broken"):
            await asyncio.to_thread(shake_hands, "127.0.0.1", port, "localhost", 10)


class _Newer:
    """A connection of Python 3.13 and later."""

    def get_unverified_chain(self) -> list[bytes]:
        """DER, as that version gives it."""
        return [b"der"]


def test_newer_pythons_have_a_public_way() -> None:
    """The private one is only for those that have none."""
    assert handshake._chain(_Newer()) == [b"der"]
