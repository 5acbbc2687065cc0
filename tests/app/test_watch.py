"""Facts about noticing changed files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from meshca.app.watch import INTERVAL, Watch, fingerprints
from tests.fakes.clock import FakeClock


class Watcher:
    """A running watch over a folder, on a fake clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.watch = Watch(self.clock)
        self.changes: list[str] = []
        self.failing = False
        self.add("files", {path: path.read_text() for path in self.paths()})

    def paths(self) -> list[Path]:
        """Every file of the folder."""
        return sorted(self.folder.glob("*.yaml"))

    def add(self, what: str, read: Mapping[Path, str]) -> None:
        """Watch every file of the folder."""

        async def changed() -> None:
            self.changes.append(what)
            if self.failing:
                raise RuntimeError(what)

        self.watch.add(what, self.paths, changed, read=read)

    async def looks(self, count: int) -> None:
        """Let so many looks happen; file reading is in real threads."""
        for _ in range(count):
            await self.passes(INTERVAL)

    async def passes(self, seconds: float) -> None:
        """Let time pass, less than two looks need."""
        await self.clock.advance(seconds)
        while not self.clock.sleepers:  # noqa: ASYNC110 - a fake clock has no event to wait for
            await asyncio.sleep(0)


@pytest.fixture
async def watcher(tmp_path: Path) -> AsyncIterator[Watcher]:
    """A running watch."""
    (tmp_path / "a.yaml").write_text("one")
    made = Watcher(tmp_path)
    task = asyncio.create_task(made.watch.run())
    await asyncio.sleep(0)
    yield made
    task.cancel()


async def test_nothing_changed_nothing_called(watcher: Watcher) -> None:
    """Unchanged files call nobody."""
    await watcher.looks(4)
    assert watcher.changes == []


async def test_touched_file_is_unchanged(watcher: Watcher) -> None:
    """Content counts, not times."""
    (watcher.folder / "a.yaml").write_text("one")
    await watcher.looks(4)
    assert watcher.changes == []


async def test_changed_once_content_settled(watcher: Watcher) -> None:
    """A change calls once, at the second look at the same content."""
    (watcher.folder / "a.yaml").write_text("two")
    await watcher.looks(1)
    assert watcher.changes == []
    await watcher.looks(3)
    assert watcher.changes == ["files"]


async def test_change_is_called_back_well_below_a_second(watcher: Watcher) -> None:
    """Within 0.6 s, so that what is loaded then is live within a second; here even right after a look."""
    await watcher.looks(1)
    (watcher.folder / "a.yaml").write_text("two")
    for _ in range(6):
        await watcher.passes(0.1)
    assert watcher.changes == ["files"]


async def test_file_being_written_waits(watcher: Watcher) -> None:
    """While content differs at each look nobody is called."""
    for text in ("t", "tw", "two"):
        (watcher.folder / "a.yaml").write_text(text)
        await watcher.looks(1)
    assert watcher.changes == []
    await watcher.looks(1)
    assert watcher.changes == ["files"]


async def test_change_taken_back_is_none(watcher: Watcher) -> None:
    """Content that returns before it settled calls nobody."""
    (watcher.folder / "a.yaml").write_text("two")
    await watcher.looks(1)
    (watcher.folder / "a.yaml").write_text("one")
    await watcher.looks(3)
    assert watcher.changes == []


async def test_new_and_removed_files_count(watcher: Watcher) -> None:
    """A file that comes or goes is a change of its group."""
    (watcher.folder / "b.yaml").write_text("new")
    await watcher.looks(2)
    (watcher.folder / "a.yaml").unlink()
    await watcher.looks(2)
    assert watcher.changes == ["files", "files"]


async def test_swapped_symlink_counts(tmp_path: Path) -> None:
    """The way a projected volume changes, by swapping `..data`, is a change."""
    for name, text in (("..1", "one"), ("..2", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    watcher = Watcher(tmp_path)
    task = asyncio.create_task(watcher.watch.run())
    await asyncio.sleep(0)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await watcher.looks(2)
    task.cancel()
    assert watcher.changes == ["files"]


async def test_change_before_the_watch_began_counts(tmp_path: Path) -> None:
    """A file that changed between being read and being watched is a change."""
    (tmp_path / "a.yaml").write_text("one")
    watcher = Watcher(tmp_path)
    (tmp_path / "a.yaml").write_text("two")
    watcher.add("late", {tmp_path / "a.yaml": "one"})
    watcher.add("even later", {tmp_path / "a.yaml": "two"})
    task = asyncio.create_task(watcher.watch.run())
    await asyncio.sleep(0)
    await watcher.looks(3)
    task.cancel()
    assert "late" in watcher.changes
    assert "even later" not in watcher.changes


async def test_failing_callback_is_called_again(tmp_path: Path) -> None:
    """A change whose callback raised is one at the next look too; other groups are looked at all the same."""
    (tmp_path / "a.yaml").write_text("two")
    watcher = Watcher(tmp_path)
    watcher.add("first", {})
    watcher.add("second", {})
    watcher.failing = True
    for expected in (["first", "second"], ["first", "second"] * 2):
        task = asyncio.create_task(watcher.watch.run())
        await asyncio.sleep(0)
        while not task.done():
            await watcher.clock.advance(INTERVAL)
        with pytest.raises(RuntimeError, match="first"):
            await task
        assert sorted(watcher.changes) == sorted(expected)  # groups are looked at side by side


def test_unreadable_counts_as_absent(tmp_path: Path) -> None:
    """A file that cannot be read has an empty print, and a named pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    none, pipe = tmp_path / "none", tmp_path / "pipe"
    assert fingerprints([none, pipe]) == {none: b"", pipe: b""}
