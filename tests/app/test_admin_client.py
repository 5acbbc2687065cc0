"""The administrator's client over the real socket, and its words for every way to fail."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshca._proto.meshca.admin.v1.admin_pb2 import ListIssuancesRequest
from meshca.app import admin_answer
from meshca.app import admin_client as subject
from meshca.app.admin_client import AdminClient, connect
from meshca.errors import BadRequest, InvariantBroken, MeshcaError, NotFound, Unavailable
from meshca.ledger.query import Query
from meshca.ledger.record import Issuance
from meshca.rpc.status_report import StatusReport
from tests.fakes.admin_server import admin_server
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.logs import captured_logs
from tests.fakes.records import NOW, intent, issued
from tests.fakes.reports import agent, report, resource


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger."""
    return FakeLedger(FakeClock(NOW))


@pytest.fixture
async def client(ledger: FakeLedger) -> AsyncIterator[AdminClient]:
    """A client of a running server."""
    async with admin_server(ledger) as path, connect(path) as client:
        yield client


async def words(path: Path) -> str:
    """Why nobody can be asked at a path."""
    with pytest.raises(Unavailable) as caught:
        async with connect(path) as client:
            await client.status()
    assert caught.value.reason == "admin_socket"
    return caught.value.detail


async def test_status(client: AdminClient) -> None:
    """The report as the server made it."""
    assert await client.status() == report()


async def test_status_of_very_many_agents(ledger: FakeLedger) -> None:
    """What does not fit is left out and counted; the answer is not too large for the client."""
    told = (resource(error="e" * 1000),)
    crowd = tuple(agent(node=f"{number:06}" + "x" * 500, resources=told) for number in range(25_000))

    async def status() -> StatusReport:
        return report(agents=crowd)

    async with admin_server(ledger, status=status) as path, connect(path) as client:
        found = await client.status()
    assert 0 < len(found.agents) < len(crowd)
    assert len(found.agents) + found.agents_left_out == len(crowd)


async def test_records(client: AdminClient, ledger: FakeLedger) -> None:
    """Values, newest first."""
    made = [intent() for _ in range(3)]
    for one in made:
        await ledger.intend(one)
    ledger.finish(issued(made[2]))
    assert await client.issuances(Query(limit=2)) == [
        Issuance(intent=made[2], outcome=issued(made[2])),
        Issuance(intent=made[1]),
    ]


async def test_one_record(client: AdminClient, ledger: FakeLedger) -> None:
    """By serial."""
    one = intent()
    await ledger.intend(one)
    assert await client.issuance(one.serial) == Issuance(intent=one)


async def test_no_such_record(client: AdminClient) -> None:
    """NotFound, in plain words."""
    with pytest.raises(NotFound) as caught:
        await client.issuance("ab")
    assert caught.value.detail == "the ledger has no such record"


async def test_a_refused_filter(client: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the server says of it."""
    good = ListIssuancesRequest(result="good")
    monkeypatch.setattr(subject, "query_message", lambda _: good)
    with pytest.raises(BadRequest) as caught:
        await client.issuances(Query())
    assert "result must be one of issued, failed, unknown" in caught.value.detail


async def test_a_store_that_is_down(client: AdminClient, ledger: FakeLedger) -> None:
    """The server's reason, its cause, and the id to look for in its log."""
    ledger.down = True
    with captured_logs() as logs, pytest.raises(Unavailable) as caught:
        await client.issuances(Query())
    (line,) = [line for line in logs if line["event"] == "rpc.refused"]
    assert line["log_level"] == "warning"
    assert f"the server answered: {line['detail']};" in caught.value.detail
    assert (caught.value.reason, "its log says more under " in caught.value.detail) == ("store", True)


async def test_a_fault_of_the_server(ledger: FakeLedger) -> None:
    """Shows no more than the wire does."""

    async def broken() -> StatusReport:
        raise InvariantBroken("secret", "secret")

    async with admin_server(ledger, status=broken) as path, connect(path) as client:
        with pytest.raises(MeshcaError) as caught:
            await client.status()
    assert "internal error (request_id=" in caught.value.detail
    assert "secret" not in str(caught.value)


async def test_a_server_that_does_not_answer(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not waited for without end."""

    async def stuck() -> StatusReport:
        await asyncio.Event().wait()
        return report()

    monkeypatch.setattr(subject, "DEADLINE_SECONDS", 0.01)
    monkeypatch.setattr(admin_answer, "DEADLINE_SECONDS", 0.01)
    async with admin_server(ledger, status=stuck) as path, connect(path) as client:
        with pytest.raises(Unavailable) as caught:
            await client.status()
    assert "did not answer" in caught.value.detail


async def test_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel still connects; that is neither a server that ends nor a user who may not."""
    monkeypatch.setattr(subject, "_CONNECT_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        said = await words(tmp_path / "s")
    assert said == f"the server at {tmp_path / 's'} does not answer; look at /livez and its log, or restart it"


async def test_a_server_that_ends_after_the_greeting(tmp_path: Path) -> None:
    """Is said to be ending, and not to hang."""

    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(end, tmp_path / "s"):
        assert "it is ending, or this user" in await words(tmp_path / "s")


async def test_another_user_is_told_so(ledger: FakeLedger) -> None:
    """The gate closes the connection without a word."""
    async with admin_server(ledger, uids=[os.geteuid() + 1]) as path:
        assert "admin.uids" in await words(path)


async def test_a_missing_socket(tmp_path: Path) -> None:
    """Names all ways to say where it is."""
    said = await words(tmp_path / "admin.sock")
    assert "there is no socket at" in said
    assert "--socket" in said
    assert "MESHCA_ADMIN_SOCKET" in said


async def test_a_socket_of_a_server_that_is_gone(tmp_path: Path) -> None:
    """A stale file."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert "nobody listens at" in await words(path)


async def test_a_socket_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, to whom nothing is forbidden."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "run this as the server's user" in await words(tmp_path / "s")


async def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    """Longer than a socket's address."""
    assert "cannot connect to" in await words(tmp_path / ("x" * 200))


async def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    """The kernel says the same as for a stale socket."""
    (tmp_path / "file").touch()
    assert "nobody listens at" in await words(tmp_path / "file")


async def test_connections_are_logged_quietly(ledger: FakeLedger) -> None:
    """Each command connects twice."""
    with captured_logs() as logs:
        async with admin_server(ledger) as path, connect(path) as client:
            await client.status()
    assert {line["log_level"] for line in logs if line["event"] == "peer.connected"} == {"debug"}
