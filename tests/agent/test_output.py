"""Certificates as files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from meshca.agent import output
from meshca.agent.holding import Holding
from meshca.agent.output import CHAIN, KEY, ROOTS, FileOutput, prepare_folder, write_plain, write_set
from meshca.errors import ConfigError
from tests.fakes.agent_values import NOW, bundle_of, svid_of
from tests.fakes.ca import FakeCa
from tests.fakes.clock import FakeClock
from tests.fakes.logs import captured_logs

NAMES = (KEY, CHAIN, ROOTS)


def files(number: int) -> Mapping[str, bytes]:
    """A set that can be told from others."""
    return dict.fromkeys(NAMES, str(number).encode())


def read(folder: Path) -> list[bytes]:
    """The current set."""
    return [(folder / name).read_bytes() for name in NAMES]


def test_a_set_is_three_files(tmp_path: Path) -> None:
    """By the names that Istio's agents use."""
    write_set(tmp_path, files(1))
    assert read(tmp_path) == [b"1"] * 3


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    """The key above all."""
    write_set(tmp_path, files(1))
    write_plain(tmp_path, {"plain.pem": b"x"})
    for name in (*NAMES, "plain.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "..data").stat().st_mode & 0o777 == 0o700


def test_a_new_set_replaces_the_old_one(tmp_path: Path) -> None:
    """And folders do not pile up: the current one and the one before."""
    for number in range(1, 6):
        write_set(tmp_path, files(number))
        assert read(tmp_path) == [str(number).encode()] * 3
    assert len([path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]) == 2


def test_a_reader_never_sees_a_mixed_set(tmp_path: Path) -> None:
    """When it resolves `..data` once, as file watchers of such volumes do."""
    write_set(tmp_path, files(0))
    mixed: list[list[bytes]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            handle = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
            try:
                seen = [_read_at(name, handle) for name in NAMES]
            except FileNotFoundError:
                continue  # two sets later: it looks again
            finally:
                os.close(handle)
            if len(set(seen)) != 1:
                mixed.append(seen)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(60):
        write_set(tmp_path, files(number))
    stop.set()
    watcher.join()
    assert mixed == []


def _read_at(name: str, handle: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=handle)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_failure_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, half-way through."""
    write_set(tmp_path, files(1))
    synced = os.fsync
    count = iter(range(10))

    def full(descriptor: int) -> None:
        if next(count) == 1:
            raise OSError(28, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="space"):
        write_set(tmp_path, files(2))
    assert read(tmp_path) == [b"1"] * 3
    monkeypatch.undo()
    write_set(tmp_path, files(3))
    assert read(tmp_path) == [b"3"] * 3


async def test_a_set_that_could_not_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent goes on meanwhile, and says so."""
    clock = FakeClock(NOW)
    ca, holding = FakeCa(clock), Holding(clock)
    monkeypatch.setattr(output, "write_set", _full)
    with captured_logs() as logs:
        writing = asyncio.create_task(FileOutput(tmp_path, holding, clock).run())
        holding.take_bundle(bundle_of(ca.root))
        await clock.advance(0)
        holding.take_svid(svid_of(ca))
        while not clock.sleepers:  # noqa: ASYNC110 - a thread writes
            await asyncio.sleep(0.001)
        monkeypatch.undo()
        await clock.advance(31)
        while not any(entry["event"] == "output.written" for entry in logs):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    written = [entry["event"] for entry in logs if entry["event"].startswith("output.")]
    assert written == ["output.not_written", "output.written"]
    assert (tmp_path / ROOTS).read_text() == ca.root.pem


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_plain_files_from_before_are_replaced_by_links(tmp_path: Path) -> None:
    """A folder that `meshca cert` filled can be handed to an agent."""
    write_plain(tmp_path, files(1))
    write_set(tmp_path, files(2))
    assert read(tmp_path) == [b"2"] * 3


def test_plain_files_are_no_links(tmp_path: Path) -> None:
    """Scripts copy them elsewhere."""
    write_plain(tmp_path, files(1))
    assert not any((tmp_path / name).is_symlink() for name in NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_the_folder_is_made(tmp_path: Path) -> None:
    """With its parents, for us alone."""
    prepare_folder(tmp_path / "a" / "b", "--out")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the option."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out"):
        prepare_folder(tmp_path / "file" / "x", "--out")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a certificate is asked for."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="cannot write"):
        prepare_folder(tmp_path, "--out")
