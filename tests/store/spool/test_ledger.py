"""Issuing goes on without the store for a while, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from meshca import metrics
from meshca.errors import InvariantBroken, Unavailable
from meshca.ledger.query import Query
from meshca.ledger.record import Intent, Issuance
from meshca.store.lineage import LedgerLineage
from meshca.store.spool.file import SpoolFile
from meshca.store.spool.ledger import GROUP, LOOK_SECONDS, SpooledLedger
from meshca.store.spool.lines import intent_line, outcome_line
from meshca.store.spool.terms import NOTHING, Spooled, SpoolTerms
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs
from tests.fakes.records import NOW, failed, intent, issued
from tests.fakes.shared_ledger import FakeSharedLedger


class Subject:
    """A ledger with a spool, and the store behind it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(NOW)
        self.store = FakeSharedLedger(self.clock)
        self.folder = folder
        self.terms = SpoolTerms(folder=folder, max_age=timedelta(minutes=15), max_records=2 * GROUP)
        self.ledger = SpooledLedger(self.store, self.terms, self.clock)

    async def spooled(self, **changes: object) -> Intent:
        """An intent that only the spool has; the store is away afterwards."""
        self.store.down = True
        one = intent(**changes)
        await self.ledger.intend(one)
        assert one.serial not in self.store.intents
        return one

    @property
    def files(self) -> list[str]:
        """What kinds of files there are."""
        return sorted(path.suffix for path in self.folder.iterdir()) if self.folder.exists() else []


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Subject]:
    """A ledger with a spool in a folder."""
    subject = Subject(folder)
    try:
        yield subject
    finally:
        await subject.ledger.close()


async def test_while_the_store_is_there_nothing_is_spooled(tmp_path: Path) -> None:
    """Everything goes straight to it."""
    async with opened(tmp_path / "spool") as subject:
        one = intent()
        await subject.ledger.intend(one)
        subject.ledger.finish(issued(one))
        assert await subject.ledger.query(Query()) == [Issuance(intent=one, outcome=issued(one))]
        assert (subject.ledger.spooled, subject.files) == (NOTHING, [])


async def test_issuing_goes_on_without_the_store(tmp_path: Path) -> None:
    """What waits is shown."""
    async with opened(tmp_path) as subject:
        await subject.spooled()
        await subject.spooled(intended_at=NOW + timedelta(seconds=9))
        assert subject.ledger.spooled == Spooled(records=2, oldest=NOW)
        subject.ledger.check(Unavailable("store", "away"))


async def test_a_renewal_finds_a_record_that_only_the_spool_has(tmp_path: Path) -> None:
    """Also at another worker of the same replica."""
    async with opened(tmp_path) as subject, opened(tmp_path) as worker:
        one = await subject.spooled()
        assert await subject.ledger.find(one.serial) == Issuance(intent=one)
        worker.store.down = True
        assert (await LedgerLineage(worker.ledger).of(one.serial)).token_id == one.token_id


async def test_a_record_that_nobody_can_look_for_is_not_unknown(tmp_path: Path) -> None:
    """A renewal must not be refused for good because the store is away."""
    async with opened(tmp_path) as subject:
        await subject.spooled()
        with pytest.raises(Unavailable):
            await subject.ledger.find("ab")
        with pytest.raises(Unavailable):
            await subject.ledger.query(Query())
        with pytest.raises(Unavailable):
            await subject.ledger.live(NOW)
        with pytest.raises(Unavailable):
            await subject.ledger.prune(NOW)


async def test_a_serial_is_spooled_once(tmp_path: Path) -> None:
    """A serial that whoever signs in our place gives twice is noticed while the store is away."""
    async with opened(tmp_path) as subject:
        one = await subject.spooled()
        with pytest.raises(InvariantBroken) as caught:
            await subject.ledger.intend(replace(one, namespace="other"))
        assert (caught.value.reason, subject.ledger.spooled.records) == ("serial_reused", 1)
        assert await subject.ledger.find(one.serial) == Issuance(intent=one)


async def test_of_two_at_once_one_is_spooled(tmp_path: Path) -> None:
    """The same serial from two requests at the same time is one record, and the other request is told."""
    async with opened(tmp_path) as subject:
        subject.store.down = True
        one = intent()
        both = (subject.ledger.intend(each) for each in (one, replace(one, namespace="other")))
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert (first, str(second).partition(":")[0]) == (None, "serial_reused")
        assert await subject.ledger.find(one.serial) == Issuance(intent=one)


async def test_another_worker_notices_a_serial_as_of_its_last_look(tmp_path: Path) -> None:
    """Spools are not shared while they are written: before that look the same serial passes."""
    async with opened(tmp_path) as subject, opened(tmp_path) as worker:
        one = await subject.spooled()
        worker.store.down = True
        await worker.ledger.find(one.serial)
        with pytest.raises(InvariantBroken):
            await worker.ledger.intend(replace(one, namespace="other"))


async def test_a_reused_serial_is_not_spooled(tmp_path: Path) -> None:
    """Only a store that is away is."""
    async with opened(tmp_path) as subject:
        one = intent()
        await subject.ledger.intend(one)
        with pytest.raises(InvariantBroken):
            await subject.ledger.intend(one)
        assert subject.files == []


async def test_what_waits_is_brought_when_the_store_is_back(tmp_path: Path) -> None:
    """Within a second, in order, with outcomes; nothing stays behind."""
    async with opened(tmp_path) as subject:
        first = await subject.spooled()
        subject.ledger.finish(issued(first))
        second = await subject.spooled()
        await _looks(subject)
        assert list(subject.store.intents) == []
        subject.store.down = False
        await _looks(subject)
        assert list(subject.store.intents) == [first.serial, second.serial]
        assert subject.store.outcomes == {first.serial: issued(first)}
        assert (subject.files, subject.ledger.spooled) == ([], NOTHING)


async def _looks(subject: Subject) -> None:
    """Let the ledger look once whether the store is back, and do what follows."""
    await subject.clock.advance(LOOK_SECONDS)
    while not subject.clock.sleepers:  # noqa: ASYNC110 - it sleeps again once it has looked
        await asyncio.sleep(0.001)


async def test_an_outcome_that_comes_late_is_brought_as_well(tmp_path: Path) -> None:
    """Its intent was brought meanwhile."""
    async with opened(tmp_path) as subject:
        one = await subject.spooled()
        subject.store.down = False
        await subject.ledger.replay()
        subject.ledger.finish(failed(one))
    assert subject.store.outcomes == {one.serial: failed(one)}


async def test_what_waits_lives(tmp_path: Path) -> None:
    """A gate must see it before the store does, once each."""
    async with opened(tmp_path) as subject:
        old = intent(intended_at=NOW - timedelta(hours=1))
        await subject.store.intend(old)
        assert [one.serial for one in await subject.ledger.live(NOW)] == [old.serial]
        new = await subject.spooled()
        subject.store.down = False
        assert [one.serial for one in await subject.ledger.live(NOW)] == [old.serial, new.serial]
        await subject.store.intend(new)
        assert [one.serial for one in await subject.ledger.live(NOW)] == [old.serial, new.serial]


async def test_bringing_twice_is_no_harm(tmp_path: Path) -> None:
    """The process may end between the store's word and the file's removal."""
    one = intent()
    async with opened(tmp_path) as subject:
        await subject.store.restore([one], [issued(one)])
        (tmp_path / "a.jsonl").write_bytes(intent_line(one) + outcome_line(failed(one)))
        await subject.ledger.replay()
        assert subject.store.outcomes == {one.serial: issued(one)}
        assert subject.files == []


async def test_many_are_brought_in_groups(tmp_path: Path) -> None:
    """So that nobody else waits long for the store."""
    many = [intent() for _ in range(GROUP + 1)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(map(intent_line, many)))
    async with opened(tmp_path) as subject:
        await subject.ledger.replay()
        assert (len(subject.store.intents), subject.store.restored) == (GROUP + 1, 2)


async def test_the_files_of_a_process_that_lives_are_its_own(tmp_path: Path) -> None:
    """It brings them itself."""
    async with opened(tmp_path) as subject, opened(tmp_path) as other:
        one = await subject.spooled()
        await other.ledger.replay()
        assert other.store.intents == {}
        subject.store.down = False
        await subject.ledger.replay()
        assert list(subject.store.intents) == [one.serial]


async def test_a_store_that_is_lost_again_has_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halfway is no harm."""
    async with opened(tmp_path) as subject:
        one = await subject.spooled()
        restore = subject.store.restore

        async def once(*records: object) -> None:
            subject.store.down = True

        subject.store.down = False
        monkeypatch.setattr(subject.store, "restore", once)
        with captured_logs():
            await subject.ledger.replay()
        monkeypatch.setattr(subject.store, "restore", restore)
    assert one.serial not in subject.store.intents or subject.files == []


async def test_what_the_store_never_takes_is_set_aside(tmp_path: Path) -> None:
    """It must not hold up what follows; a person looks at it."""
    async with opened(tmp_path) as subject:
        bad, good = intent(), intent()
        (tmp_path / "a.jsonl").write_bytes(intent_line(bad))
        (tmp_path / "b.jsonl").write_bytes(intent_line(good))
        subject.store.refused = {bad.serial}
        with captured_logs() as logs:
            await subject.ledger.replay()
        assert (list(subject.store.intents), subject.files) == ([good.serial], [".refused"])
        assert "store.spool_refused" in [entry["event"] for entry in logs]


async def test_a_damaged_file_is_set_aside_once_its_good_lines_are_brought(tmp_path: Path) -> None:
    """With how many could not be read."""
    async with opened(tmp_path) as subject:
        one = intent()
        (tmp_path / "a.jsonl").write_bytes(b"x\n" + intent_line(one))
        with captured_logs() as logs:
            await subject.ledger.replay()
        assert (list(subject.store.intents), subject.files) == ([one.serial], [".damaged"])
        assert {"event": "store.spool_damaged", "lines": 1}.items() <= logs[-1].items()


async def test_a_file_that_another_was_quicker_with_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks."""
    async with opened(tmp_path) as subject:
        monkeypatch.setattr(subject.ledger._shelf, "paths", lambda: [tmp_path / "gone.jsonl"])
        await subject.ledger.replay()
        monkeypatch.undo()


async def test_a_spool_that_cannot_be_used_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may come back."""
    async with opened(tmp_path) as subject:
        (tmp_path / "a.jsonl").mkdir()
        with captured_logs() as logs:
            await _looks(subject)
        assert [entry["event"] for entry in logs] == ["store.spool_unusable"]
        (tmp_path / "a.jsonl").rmdir()


async def test_a_fault_of_ours_does_not_end_the_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records must come to the store in the end."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with opened(tmp_path) as subject:
        one = await subject.spooled()
        subject.store.down = False
        with monkeypatch.context() as patched, captured_logs() as logs:
            patched.setattr(subject.store, "restore", fail)
            await _looks(subject)
        assert [entry["event"] for entry in logs] == ["store.spool_failed"]
        await _looks(subject)
        assert list(subject.store.intents) == [one.serial]


async def test_the_metrics_show_what_waits(tmp_path: Path) -> None:
    """Number and age, then none."""
    async with opened(tmp_path) as subject:
        await subject.spooled()
        await _looks(subject)
        assert (_value(metrics.ledger_spooled), _value(metrics.ledger_spool_age)) == (1.0, LOOK_SECONDS)
        subject.store.down = False
        await _looks(subject)
        assert (_value(metrics.ledger_spooled), _value(metrics.ledger_spool_age)) == (0.0, 0.0)


def _value(gauge: object) -> float:
    (sample,) = next(iter(gauge.collect())).samples  # type: ignore[attr-defined] # of prometheus_client
    return float(sample.value)


async def test_what_cannot_be_brought_at_the_end_stays(tmp_path: Path) -> None:
    """For the next process."""
    with captured_logs() as logs:
        async with opened(tmp_path) as subject:
            one = await subject.spooled()
    assert "store.spool_left" in [entry["event"] for entry in logs]
    async with opened(tmp_path) as again:
        await again.ledger.replay()
        assert list(again.store.intents) == [one.serial]


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.store.spool.test_ledger import Subject
from tests.fakes.records import intent, issued

async def main():
    subject = Subject(Path(sys.argv[1]))
    subject.store.down = True
    for number in range(1, 1_000_000):
        one = intent(serial=f"{number:x}")
        await subject.ledger.intend(one)
        print(one.serial, flush=True)
        subject.ledger.finish(issued(one))

asyncio.run(main())
"""


def killed(folder: Path) -> list[str]:
    """The serials that a process was told are kept, before it was killed in the middle of its work."""
    command = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        return said + process.stdout.read().split()


async def test_what_a_killed_process_has_spooled_is_brought(tmp_path: Path) -> None:
    """Every record that it was told is kept, at whatever moment it died."""
    said = killed(tmp_path)
    async with opened(tmp_path) as subject:
        await subject.ledger.replay()
        assert set(said) <= set(subject.store.intents)
        assert subject.store.outcomes.keys() <= subject.store.intents.keys()
        assert subject.files == []


def test_the_format_is_for_people_too(tmp_path: Path) -> None:
    """JSON with names, so that a record can be looked at in an emergency."""
    file = SpoolFile(tmp_path / "a.jsonl")
    file.append(intent_line(intent(pod_name="web-7")))
    file.close()
    assert json.loads(file.path.read_text())["intent"]["pod_name"] == "web-7"
