"""Keeping records on this machine's disk: durable, together, and never more than was allowed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.errors import InvariantBroken, Unavailable
from meshca.ledger.record import Intent, Issuance
from meshca.store.spool.appending import Appending
from meshca.store.spool.file import SpoolFile
from meshca.store.spool.shelf import Shelf
from meshca.store.spool.terms import SpoolTerms
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.records import NOW, intent, issued

CAUSE = Unavailable("store", "the server is away")
AGE = timedelta(minutes=15)


class Subject:
    """A spool and its terms."""

    def __init__(self, folder: Path, **terms: int) -> None:
        self.clock = FakeClock(NOW)
        self.folder = folder / "spool"
        self.shelf = Shelf(self.folder)
        limits = SpoolTerms(folder=self.folder, max_age=AGE, max_records=terms.get("max_records", 100))
        self.appending = Appending(limits, self.shelf, self.clock)

    async def kept(self, **changes: object) -> Intent:
        """An intent that was kept now."""
        one = intent(intended_at=self.clock.now(), **changes)
        await self.appending.intend(one, CAUSE)
        return one

    async def refusal(self) -> str:
        """Why an intent is not kept."""
        with pytest.raises(Unavailable) as caught:
            await self.kept()
        assert caught.value.reason == "store"
        return caught.value.detail


@contextlib.asynccontextmanager
async def opened(folder: Path, **terms: int) -> AsyncIterator[Subject]:
    """A spool that is open."""
    subject = Subject(folder, **terms)
    try:
        yield subject
    finally:
        await subject.appending.close()


async def test_an_intent_is_on_the_disk_when_it_is_kept(tmp_path: Path) -> None:
    """In a private folder that is made when first needed."""
    async with opened(tmp_path) as subject:
        assert not subject.folder.exists()
        one = await subject.kept()
        assert subject.folder.stat().st_mode & 0o777 == 0o700
        other = Shelf(subject.folder)
        other.refresh()
        assert other.find(one.serial) == Issuance(intent=one)


async def test_what_comes_together_is_synced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many."""
    synced: list[int] = []
    async with opened(tmp_path) as subject:
        await subject.kept()
        monkeypatch.setattr(os, "fsync", synced.append)
        await asyncio.gather(*(subject.kept() for _ in range(50)))
        assert len(synced) == 1


async def test_an_outcome_follows_its_intent(tmp_path: Path) -> None:
    """Nobody waits for it."""
    async with opened(tmp_path) as subject:
        one = await subject.kept()
        assert subject.appending.holds(one.serial)
        subject.appending.finish(issued(one))
        assert not subject.appending.holds(one.serial)
        await subject.kept()
        assert subject.shelf.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_no_more_than_the_number_allowed(tmp_path: Path) -> None:
    """Of all processes together; the refusal says what the store's fault is as well."""
    async with opened(tmp_path, max_records=2) as subject, opened(tmp_path, max_records=2) as other:
        await subject.kept()
        await other.kept()
        words = "the server is away; 2 records wait in the spool already, see ledger.spool.max_records"
        assert await subject.refusal() == words
        with pytest.raises(Unavailable, match="max_records"):
            other.appending.check(CAUSE)


async def test_a_refused_intent_is_not_held(tmp_path: Path) -> None:
    """Its outcome is nobody's."""
    async with opened(tmp_path, max_records=1) as subject:
        await subject.kept()
        one = intent()
        with pytest.raises(Unavailable):
            await subject.appending.intend(one, CAUSE)
        assert not subject.appending.holds(one.serial)


async def test_no_longer_than_allowed(tmp_path: Path) -> None:
    """From the first record on; a restart does not begin anew."""
    async with opened(tmp_path) as subject:
        await subject.kept()
        subject.clock.move(AGE.total_seconds())
        await subject.kept()
        subject.appending.check(CAUSE)
        subject.clock.move(1)
        words = "the server is away; records have waited in the spool for more than 15m, see ledger.spool.max_age"
        assert await subject.refusal() == words
    async with opened(tmp_path) as again:
        again.clock.move(AGE.total_seconds() + 1)
        assert await again.refusal() == words


async def test_an_empty_spool_takes_more(tmp_path: Path) -> None:
    """However long the store has been away: only issuing counts."""
    async with opened(tmp_path) as subject:
        subject.clock.move(10 * AGE.total_seconds())
        subject.appending.check(CAUSE)


async def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """Alone."""
    async with opened(tmp_path) as subject:
        with pytest.raises(InvariantBroken):
            await subject.kept(pod_name="\ud800")


async def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And outcomes are kept until it has room."""
    async with opened(tmp_path) as subject:
        one = await subject.kept()
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", _full)
            subject.appending.finish(issued(one))
            assert "the server is away; the spool in " in (words := await subject.refusal())
            assert "spool cannot be written (full)" in words
        await subject.kept()
        assert subject.shelf.find(one.serial) == Issuance(intent=one, outcome=issued(one))


async def test_a_folder_that_others_can_use_is_refused(tmp_path: Path) -> None:
    """Records say who is who."""
    (tmp_path / "spool").mkdir(mode=0o777)
    (tmp_path / "spool").chmod(0o777)
    async with opened(tmp_path) as subject:
        assert "others may use this private folder" in await subject.refusal()


async def test_a_sealed_file_is_complete(tmp_path: Path) -> None:
    """What follows is in another one."""
    async with opened(tmp_path) as subject:
        assert await subject.appending.seal() == ()
        await subject.kept()
        (first,) = await subject.appending.seal()
        before = first.path.read_bytes()
        await subject.kept()
        assert first.path.read_bytes() == before
        both = await subject.appending.seal()
        assert len(both) == 2
        subject.appending.forget(both[0])
        assert await subject.appending.seal() == both[1:]


async def test_a_cancelled_intent_may_be_kept(tmp_path: Path) -> None:
    """It stays open, so that its outcome finds it."""
    async with opened(tmp_path) as subject:
        one = intent()
        asking = asyncio.ensure_future(subject.appending.intend(one, CAUSE))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert subject.appending.holds(one.serial)


async def test_a_closed_spool_keeps_nothing(tmp_path: Path) -> None:
    """An outcome that comes then is logged as lost."""
    async with opened(tmp_path) as subject:
        one = await subject.kept()
        await subject.appending.close()
        assert await subject.refusal() == "the server is away; the store is closed"
        with captured_logs() as logs:
            subject.appending.finish(issued(one))
        assert [entry["event"] for entry in logs] == ["store.outcome_lost"]


async def test_outcomes_that_could_not_be_written_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end."""
    with captured_logs() as logs:
        async with opened(tmp_path) as subject:
            one = await subject.kept()
            monkeypatch.setattr(SpoolFile, "append", _full)
            subject.appending.finish(issued(one))
    assert {"event": "store.outcomes_lost", "count": 1}.items() <= logs[-1].items()


def _full(*_: object) -> None:
    raise OSError(28, "full")
