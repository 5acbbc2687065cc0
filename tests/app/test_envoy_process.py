"""Starting and ending an Envoy: with stand-in programs for what goes wrong, and a real one for what works."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from meshca.app import envoy_process
from meshca.clock import SystemClock
from meshca.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.real.envoy import find_envoy

ECHO = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
LISTENING = {"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}}


class Impatient(FakeClock):
    """A clock on which waiting takes no time, but other tasks run meanwhile."""

    async def sleep(self, seconds: float) -> None:
        """Move at once."""
        self.move(seconds)
        await asyncio.sleep(0)


def program(folder: Path, text: str) -> Path:
    """A shell script in place of Envoy."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def gone(pid: int) -> bool:
    """Whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_missing_program(tmp_path: Path) -> None:
    """A binary that is not there is an error that names it."""
    with pytest.raises(Unavailable, match="cannot be run: No such file"):
        await envoy_process.start(tmp_path / "none", {}, tmp_path, clock=SystemClock())


async def test_an_early_end_shows_the_log(tmp_path: Path) -> None:
    """A program that ends at once is reported with its exit code and the end of its log."""
    binary = program(tmp_path, "echo why it ended >&2; exit 7")
    with pytest.raises(Unavailable, match=r"ended with 7: why it ended"):
        async with envoy_process.running(binary, {}, tmp_path, clock=SystemClock()):
            pytest.fail("it never answered")


async def test_a_silent_program_is_ended(tmp_path: Path) -> None:
    """A program that never answers is given up after the time, and is gone."""
    binary = program(tmp_path, "exec sleep 1000")
    envoy = await envoy_process.start(binary, {}, tmp_path, clock=Impatient())
    with pytest.raises(Unavailable, match=r"not ready after 20 s: its log is empty"):
        await envoy.answering()
    await envoy.stop()
    assert gone(envoy.pid)


async def test_a_stubborn_program_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not end when asked is ended by force."""
    monkeypatch.setattr(envoy_process, "_STOP_SECONDS", 0.1)
    binary = program(tmp_path, "trap '' TERM; echo armed >&2; while :; do sleep 0.05; done")
    envoy = await envoy_process.start(binary, {}, tmp_path, clock=SystemClock())
    async with asyncio.timeout(20):
        while "armed" not in await asyncio.to_thread(envoy.log_tail):
            continue
    await envoy.stop()
    assert gone(envoy.pid)


async def test_stopping_twice(tmp_path: Path) -> None:
    """Ending what has ended is fine."""
    envoy = await envoy_process.start(program(tmp_path, "exit 0"), {}, tmp_path, clock=SystemClock())
    await envoy.process.wait()
    await envoy.stop()
    await envoy.stop()


async def test_no_answer_from_the_page(tmp_path: Path) -> None:
    """Asking an Envoy that is gone is an error of ours."""
    envoy = await envoy_process.start(program(tmp_path, "exit 0"), {}, tmp_path, clock=SystemClock())
    await envoy.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        await envoy.get("/ready")


def test_no_log_yet(tmp_path: Path) -> None:
    """Before there is a log file, its end is empty."""
    envoy = envoy_process.EnvoyProcess(name="e", folder=tmp_path, process=None, clock=SystemClock())  # type: ignore[arg-type]
    assert not envoy.log_tail()


@pytest.mark.real("envoy")
@pytest.mark.parametrize("page", ["port", "socket"])
async def test_a_real_one(page: str, tmp_path: Path) -> None:
    """It becomes ready, shows its ports and counters, and is gone afterwards with nothing left listening."""
    binary = find_envoy()
    assert binary
    address: dict[str, Any] = LISTENING["admin"]["address"]
    if page == "socket":
        address = {"pipe": {"path": str(tmp_path / "a.sock")}}
    listener = {
        "name": "one",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "echo", "typed_config": {"@type": ECHO}}]}],
    }
    bootstrap = {"admin": {"address": address}, "static_resources": {"listeners": [listener]}}
    async with envoy_process.running(binary, bootstrap, tmp_path, clock=SystemClock()) as envoy:
        await envoy.ready()
        ports = await envoy.ports()
        assert (list(ports), ports["one"] > 0) == (["one"], True)
        assert await envoy.stats("^server.live$") == {"server.live": 1}
        assert envoy.access_log.exists()
    assert gone(envoy.pid)
