"""A connection that comes back by itself, and says what an operator can do while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshca.clock import Clock, SystemClock
from meshca.errors import Conflict, InvariantBroken, Unavailable
from meshca.store.postgres import link as subject
from meshca.store.postgres.address import parse
from meshca.store.postgres.link import Connection, Link
from tests.fakes.clock import FakeClock
from tests.fakes.hurried_clock import HurriedClock
from tests.fakes.logs import captured_logs
from tests.real.cable import cable
from tests.real.postgresql import OWNER, PASSWORD, Cluster, running_cluster
from tests.store.postgres.opening import fresh_database

pytestmark = pytest.mark.real("postgresql")


@pytest.fixture
def database(postgresql: Cluster) -> Iterator[str]:
    """A database with all tables."""
    with fresh_database(postgresql) as name:
        yield name


@contextlib.asynccontextmanager
async def opened(url: str, clock: Clock | None = None, *, seconds: float = 60.0) -> AsyncIterator[Link]:
    """A link that is closed in the end."""
    link = Link(parse(url), clock or SystemClock(), "test", seconds=seconds, rng=random.Random(1))
    try:
        yield link
    finally:
        await link.close()


async def one(connection: Connection) -> object:
    """The smallest piece of work."""
    return await (await connection.execute("SELECT 1")).fetchone()


async def pid(connection: Connection) -> int:
    """Which of the server's processes it is."""
    return connection.info.backend_pid


async def refusal(link: Link) -> str:
    """Why a piece of work is refused."""
    with pytest.raises(Unavailable) as caught:
        await link.run(one)
    assert caught.value.reason == "store"
    return caught.value.detail


async def until_back(link: Link) -> None:
    """Return once the link works again."""
    while link.fault is not None:  # noqa: ASYNC110 - it tries by itself
        await asyncio.sleep(0.001)


async def test_work_is_done(postgresql: Cluster, database: str) -> None:
    """On one connection, which stays."""
    async with opened(postgresql.url(database)) as link:
        assert await link.run(one) == (1,)
        assert await link.run(pid) == await link.run(pid)
        assert (len(link), link.fault) == (0, None)


@pytest.mark.parametrize("spelled", ["off", "local", "on", "remote_apply"])
async def test_what_is_committed_is_on_the_disk(postgresql: Cluster, database: str, spelled: str) -> None:
    """Whatever the database's own setting is, unless it promises more."""
    postgresql.execute(f"ALTER DATABASE {database} SET synchronous_commit = {spelled}")

    async def setting(connection: Connection) -> object:
        return await (await connection.execute("SHOW synchronous_commit")).fetchone()

    async with opened(postgresql.url(database)) as link:
        assert await link.run(setting) == ("remote_apply" if spelled == "remote_apply" else "on",)


async def test_a_caller_that_leaves_does_not_take_the_connection_along(postgresql: Cluster, database: str) -> None:
    """What it began is finished."""
    async with opened(postgresql.url(database)) as link:
        before = await link.run(pid)
        asking = asyncio.ensure_future(link.run(one))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await link.run(pid) == before


async def test_an_error_that_nobody_waits_for_is_no_news(postgresql: Cluster, database: str) -> None:
    """Its caller has left."""

    async def fail(connection: Connection) -> None:
        await connection.execute("SELECT 1 FROM nonesuch")

    async with opened(postgresql.url(database)) as link:
        asking = asyncio.ensure_future(link.run(fail))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_fault_of_one_piece_of_work_is_its_own(postgresql: Cluster, database: str) -> None:
    """The connection stays."""

    async def fail(connection: Connection) -> None:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM nonesuch")

    async with opened(postgresql.url(database)) as link:
        before = await link.run(pid)
        with pytest.raises(Unavailable, match="the tables are not those of this version"):
            await link.run(fail)
        assert await link.run(pid) == before


async def test_what_the_work_itself_says_is_passed_on(postgresql: Cluster, database: str) -> None:
    """With its transaction rolled back."""

    async def conflict(connection: Connection) -> None:
        async with connection.transaction():
            raise Conflict("generation", "no")

    async with opened(postgresql.url(database)) as link:
        before = await link.run(pid)
        with pytest.raises(Conflict):
            await link.run(conflict)
        assert await link.run(pid) == before


async def test_a_fault_of_ours_gives_the_connection_up(postgresql: Cluster, database: str) -> None:
    """It may be in the middle of something."""

    async def fail(_: Connection) -> None:
        raise ZeroDivisionError

    async with opened(postgresql.url(database)) as link:
        before = await link.run(pid)
        with pytest.raises(ZeroDivisionError):
            await link.run(fail)
        assert await link.run(pid) != before


async def test_a_value_that_is_refused_for_ever_is_our_fault(postgresql: Cluster, database: str) -> None:
    """Trying again cannot help."""

    async def too_large(connection: Connection) -> None:
        await connection.execute("SELECT 99999999999999999999::bigint")

    async with opened(postgresql.url(database)) as link:
        with pytest.raises(InvariantBroken) as caught:
            await link.run(too_large)
        assert caught.value.reason == "store_value"


async def test_too_many_pieces_of_work_are_refused(
    postgresql: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before this process runs out of memory."""
    monkeypatch.setattr(subject, "MAX_WAITING", 0)
    async with opened(postgresql.url(database)) as link:
        assert "jobs wait already" in await refusal(link)


async def test_a_closed_link_does_nothing(postgresql: Cluster, database: str) -> None:
    """And says so."""
    async with opened(postgresql.url(database)) as link:
        await link.run(one)
        await link.close()
        assert await refusal(link) == "the store is closed"


async def test_a_server_that_is_away_is_tried_again(tmp_path: Path) -> None:
    """In the meantime everybody is told at once; afterwards it works by itself, and the log has a line each."""
    with running_cluster() as own, captured_logs() as logs:
        async with opened(own.url("postgres")) as link:
            await link.run(one)
            own.stop()
            assert "(SQLSTATE 57P01)" in (words := await refusal(link)) or "the connection was lost" in words
            await refusal(link)
            own.start()
            await until_back(link)
            assert await link.run(one) == (1,)
        assert [entry["event"] for entry in logs] == ["store.lost", "store.back"]
        assert logs[0]["detail"] == words


async def test_a_server_that_is_not_there_at_first_is_tried_again(tmp_path: Path) -> None:
    """As one that is lost later."""
    with running_cluster() as own:
        own.stop()
        async with opened(own.url("postgres")) as link:
            assert "there is no socket; is the server running" in await refusal(link)
            own.start()
            await until_back(link)
            assert await link.run(one) == (1,)


async def test_tries_are_spread() -> None:
    """The pause grows, so that a server that starts is not flooded by those that wait for it."""
    clock = FakeClock()
    link = Link(parse("postgresql:///x?host=/nonesuch"), clock, "test", rng=random.Random(1))
    await refusal(link)
    pauses = []
    for _ in range(8):
        await clock.advance(0)
        pauses.append(min(due for due, _, future in clock._sleepers if not future.done()) - clock.monotonic())
        await clock.advance(pauses[-1])
        while not clock.sleepers:  # noqa: ASYNC110 - it tries in between
            await asyncio.sleep(0.001)
    assert 0.1 <= pauses[0] <= 0.2
    assert max(pauses) <= subject.BACKOFF.ceiling
    assert max(pauses) > 10 * 0.1
    await link.close()


async def test_a_server_that_does_not_answer_is_given_up(
    postgresql: Cluster, database: str, tmp_path: Path
) -> None:
    """Nothing on the way says that the cable is out; when it is in again, all goes on."""
    (tmp_path / "password").write_text(PASSWORD)
    async with cable(postgresql.port) as way:
        url = f"{postgresql.tcp_url(database, port=way.port)}?password_file={tmp_path}/password"
        async with opened(url, seconds=0.2) as link:
            await link.run(one)
            way.pull()
            assert await refusal(link) == "no answer within 0.2 s; is the server overloaded or cut off?"
            assert await refusal(link) != ""
            way.plug()
            await until_back(link)
            assert await link.run(one) == (1,)


async def test_a_server_that_cannot_be_reached_at_all_is_given_up(
    postgresql: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a bound of ours, whatever the network does."""
    monkeypatch.setattr(subject, "OPENING_SECONDS", 0.2)
    async with cable(postgresql.port) as way:
        way.pull()
        async with opened(postgresql.tcp_url(database, port=way.port), HurriedClock()) as link:
            assert "no answer within 0.2 s" in await refusal(link)


async def test_a_wrong_password_is_said(postgresql: Cluster, database: str, tmp_path: Path) -> None:
    """And the right one is taken from the file once it is there."""
    file = tmp_path / "password"
    file.write_text("wrong")
    async with opened(f"{postgresql.tcp_url(database)}?password_file={file}") as link:
        assert (words := await refusal(link)).startswith("the password is wrong or missing")
        assert "wrong " not in words.removeprefix("the password is wrong or missing")
        file.write_text(PASSWORD)
        await until_back(link)
        assert await link.run(one) == (1,)


async def test_a_password_file_that_is_gone_is_said(postgresql: Cluster, database: str, tmp_path: Path) -> None:
    """It is read again, until it is there."""
    async with opened(f"{postgresql.tcp_url(database)}?password_file={tmp_path}/none") as link:
        assert "cannot be read" in await refusal(link)


async def test_a_missing_database_is_said(postgresql: Cluster) -> None:
    """With the command that makes it."""
    async with opened(postgresql.url("nonesuch")) as link:
        assert "createdb --owner" in await refusal(link)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "nonesuch.invalid"])
async def test_a_host_that_is_unknown_is_said(host: str) -> None:
    """Also when it cannot be a name at all."""
    async with opened(f"postgresql://{host}/x", FakeClock()) as link:
        assert "the host's name is" in await refusal(link)


async def test_a_missing_role_is_said(postgresql: Cluster, database: str) -> None:
    """With the command that makes it."""
    async with opened(postgresql.url(database).replace(OWNER, "stranger", 1)) as link:
        assert "createuser --login" in await refusal(link)


async def test_a_server_that_only_reads_is_said(postgresql: Cluster, database: str) -> None:
    """As a standby does."""
    postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with opened(postgresql.url(database)) as link:
        assert "the server only reads: it is a standby" in await refusal(link)


async def test_a_server_that_becomes_a_standby_is_left(postgresql: Cluster, database: str) -> None:
    """The next connection may find the new primary."""

    async def write(connection: Connection) -> None:
        await connection.execute("SET default_transaction_read_only = on")
        await connection.execute("DELETE FROM probe")

    async with opened(postgresql.url(database)) as link:
        with pytest.raises(Unavailable, match="the server only reads"):
            await link.run(write)
        await until_back(link)
        assert await link.run(one) == (1,)


async def test_a_server_without_connections_left_is_said(postgresql: Cluster, database: str) -> None:
    """With what to change."""
    postgresql.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    async with opened(postgresql.url(database)) as link:
        assert "no connections left; raise max_connections" in await refusal(link)


async def test_a_connection_that_an_administrator_ends_comes_back(postgresql: Cluster, database: str) -> None:
    """At once, by the next try."""
    async with opened(postgresql.url(database)) as link:
        before = await link.run(pid)
        postgresql.execute(f"SELECT pg_terminate_backend({before})")
        await refusal(link)
        await until_back(link)
        assert await link.run(pid) != before
