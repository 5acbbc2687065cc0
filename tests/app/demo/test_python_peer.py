"""The demo's Python peers check each other's identity, and use a new certificate as soon as it is there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca.agent.output import CHAIN, KEY, ROOTS, write_set
from meshca.app.demo import python_peer
from meshca.app.demo.python_peer import Identity, Server
from meshca.errors import InvariantBroken
from tests.real.pki import Leaf, Pki

PREFIX = "spiffe://cluster.local/ns/shop/sa/"
WEB, PAYMENTS = f"{PREFIX}web", f"{PREFIX}payments"
PKI = Pki()


def write(folder: Path, leaf: Leaf, pki: Pki = PKI) -> Identity:
    """A certificate as the agent writes it."""
    folder.mkdir(exist_ok=True)
    write_set(folder, {KEY: leaf.key, CHAIN: leaf.certificate, ROOTS: pki.root()})
    return Identity(folder=folder)


@contextlib.asynccontextmanager
async def payments(folder: Path) -> AsyncIterator[Server]:
    """The called side; lets web in."""
    identity = write(folder / "payments", PKI.leaf(PAYMENTS))
    async with python_peer.serving(identity, allowed=WEB) as server:
        yield server


@pytest.mark.parametrize(("name", "status"), [("web", 200), ("intruder", 403)])
async def test_the_caller_is_known_by_its_identity(tmp_path: Path, name: str, status: int) -> None:
    """Only one is let in, although both are of the mesh."""
    identity = write(tmp_path / name, PKI.leaf(PREFIX + name))
    async with payments(tmp_path) as server:
        reply = await python_peer.call(identity, server.port, "/charges", PAYMENTS)
    assert (reply.status, reply.text) == (status, PAYMENTS)


async def test_the_called_side_must_be_the_expected_one(tmp_path: Path) -> None:
    """A service of the mesh in another one's place is found out."""
    identity = write(tmp_path / "web", PKI.leaf(WEB))
    async with payments(tmp_path) as server:
        with pytest.raises(InvariantBroken, match=r"the other side is .*/payments, expected .*/bank"):
            await python_peer.call(identity, server.port, "/charges", f"{PREFIX}bank")


async def test_a_caller_of_another_root_is_not_heard(tmp_path: Path) -> None:
    """The handshake fails; nothing is answered."""
    stranger = write(tmp_path / "web", Pki().leaf(WEB))
    async with payments(tmp_path) as server:
        with pytest.raises((OSError, EOFError)):
            await python_peer.call(stranger, server.port, "/charges", PAYMENTS)
    assert server.handshakes == 0


@pytest.mark.parametrize("uris", [(), (WEB, PAYMENTS)], ids=["none", "two"])
async def test_a_caller_without_exactly_one_name_is_not_let_in(tmp_path: Path, uris: tuple[str, ...]) -> None:
    """Rule X of SPIFFE: one URI."""
    caller = write(tmp_path / "web", PKI.leaf(*uris))
    async with payments(tmp_path) as server:
        reply = await python_peer.call(caller, server.port, "/charges", PAYMENTS)
    assert reply.status == 403


async def test_renewed_certificates_are_used_at_both_ends(tmp_path: Path) -> None:
    """The very next connection has them, and none resumes a session."""
    web = write(tmp_path / "web", PKI.leaf(WEB))
    async with payments(tmp_path) as server:
        await python_peer.call(web, server.port, "/charges", PAYMENTS)
        server_side = Identity(folder=tmp_path / "payments")
        before = web.held().serial, server_side.held().serial
        write(tmp_path / "web", PKI.leaf(WEB))
        write(tmp_path / "payments", PKI.leaf(PAYMENTS))
        assert await presented(web, server.port) == server_side.held().serial
        assert (await python_peer.call(web, server.port, "/charges", PAYMENTS)).status == 200
    assert before[0] != web.held().serial
    assert before[1] != server_side.held().serial
    assert server.resumed == 0


async def presented(identity: Identity, port: int) -> str:
    """The serial number of the certificate that the server shows."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=identity.context(server=False))
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert()
    writer.close()
    await writer.wait_closed()
    assert certificate is not None
    return str(certificate["serialNumber"]).lower().lstrip("0")
