"""One replica leads at a time, and another when that one is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from meshca.clock import SystemClock
from meshca.store.postgres.address import parse
from meshca.store.postgres.leadership import LOOK_SECONDS, Leadership
from meshca.store.postgres.link import Link
from tests.real.cable import cable
from tests.real.postgresql import PASSWORD, Cluster
from tests.store.postgres.opening import fresh_database, fresh_url

pytestmark = pytest.mark.real("postgresql")


@pytest.fixture
def url(postgresql: object) -> Iterator[str]:
    """Of a database of its own, by TCP."""
    with fresh_url(postgresql) as made:
        yield made


@contextlib.asynccontextmanager
async def candidate(url: str, name: str, standing: Callable[[], bool] = lambda: True) -> AsyncIterator[Leadership]:
    """A replica that tries."""
    link = Link(parse(url), SystemClock(), "leader")
    made = Leadership(link, SystemClock(), name)
    task = asyncio.create_task(made.run(standing))
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await link.close()


async def until(leader: Leadership, name: str) -> None:
    """Return once it sees this one lead."""
    async with asyncio.timeout(30):
        while leader.leader != name:  # noqa: ASYNC110 - a look is no event
            await asyncio.sleep(0.02)


async def test_one_leads_and_all_know_it(url: str) -> None:
    """By its name."""
    async with candidate(url, "one") as one:
        await until(one, "one")
        async with candidate(url, "two") as two:
            await until(two, "one")
            assert (one.leading, two.leading) == (True, False)


async def test_another_leads_when_it_is_gone(url: str) -> None:
    """Within moments."""
    async with contextlib.AsyncExitStack() as first:
        one = await first.enter_async_context(candidate(url, "one"))
        await until(one, "one")
        async with candidate(url, "two") as two:
            await until(two, "one")
            await first.aclose()
            await until(two, "two")
            assert two.leading


async def test_who_cannot_do_the_work_gives_it_up(url: str) -> None:
    """Another takes over within moments, and keeps it when the first could again."""
    stands = [True]
    async with candidate(url, "one", lambda: stands[0]) as one:
        await until(one, "one")
        async with candidate(url, "two") as two:
            await until(two, "one")
            stands[0] = False
            await until(two, "two")
            await until(one, "two")
            stands[0] = True
            await asyncio.sleep(2 * LOOK_SECONDS)
            assert (one.leading, two.leading) == (False, True)


async def test_who_cannot_do_the_work_does_not_begin_it(url: str) -> None:
    """Nobody leads where nobody can, and whoever can at last does."""
    stands = [False]
    async with candidate(url, "one", lambda: stands[0]) as one:
        await asyncio.sleep(2 * LOOK_SECONDS)
        assert (one.leading, one.leader) == (False, "")
        stands[0] = True
        await until(one, "one")


async def test_who_is_cut_off_leads_no_more(
    postgresql: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows, and the other takes over once the server has noticed the silence."""
    (tmp_path / "password").write_text(f"*:*:*:*:{PASSWORD}\n")
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "password"))
    with fresh_database(postgresql) as database:
        async with cable(postgresql.port) as pulled:
            through = postgresql.tcp_url(database, port=pulled.port)
            async with candidate(through, "one") as one:
                await until(one, "one")
                async with candidate(postgresql.url(database), "two") as two:
                    await until(two, "one")
                    pulled.pull()
                    await until(one, "")
                    assert not one.leading
                    await until(two, "two")
                    assert two.leading


async def test_who_ends_without_a_word_is_silent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as what it issued may live; who says goodbye is not."""
    monkeypatch.setattr("meshca.store.postgres.leadership.SILENT", timedelta(0))
    async with candidate(url, "one") as one:
        await until(one, "one")
    async with candidate(url, "two") as two:
        await until(two, "two")
        assert "one" in await two.silent(timedelta(hours=1))
        assert "one" not in await two.silent(timedelta(0))
        async with candidate(url, "one") as again:
            await until(again, "two")
            await again.goodbye()
            assert "one" not in await two.silent(timedelta(hours=1))


async def test_who_is_heard_lives(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who was not heard for some time does not, as far as anybody knows."""
    async with candidate(url, "one"), candidate(url, "two") as two:
        async with asyncio.timeout(30):
            while await two.living() != ("one", "two"):  # noqa: ASYNC110 - a look is no event
                await asyncio.sleep(0.02)
        monkeypatch.setattr("meshca.store.postgres.leadership.SILENT", timedelta(hours=-1))
        assert await two.living() == ()


async def test_who_has_a_spool_is_silent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits on its disk is not known to the others yet; nor does it say goodbye."""
    monkeypatch.setattr("meshca.store.postgres.leadership.SILENT", timedelta(0))
    waits = [False]
    link = Link(parse(url), SystemClock(), "leader")
    made = Leadership(link, SystemClock(), "one", lambda: waits[0])
    await link.run(partial(made._look, stands=True))
    waits[0] = True
    before = await made.silent(timedelta(hours=1))
    await link.run(partial(made._look, stands=True))
    await made.goodbye()
    assert (before, await made.silent(timedelta(hours=1))) == (("one",), ("one",))
    await link.close()
