"""Processes of the demo end with it, also when they will not, and say why they failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshca.app.demo import child
from meshca.clock import SystemClock
from meshca.errors import Unavailable

WAITS = "import signal; open('up', 'w').close(); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('up', 'w').close(); signal.pause()"
ENDS = "print('no such option'); raise SystemExit(2)"
PRINTS = "import os; print(os.environ.get('MESHCA__WORKERS', 'unset'))"


@pytest.fixture(autouse=True)
def _python_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", *arguments]

    monkeypatch.setattr(child, "_command", command)
    monkeypatch.chdir(tmp_path)


def gone(pid: int) -> bool:
    """Whether no such process runs any more; one that only waits for its parent to look does not."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


async def test_a_process_runs_for_the_block_only(tmp_path: Path) -> None:
    """It is there within, and gone after."""
    async with child.running("it", [WAITS], tmp_path / "log", {}, clock=SystemClock()) as running:
        await running.writes(tmp_path / "up", within=30)
        pid = running.process.pid
        assert not gone(pid)
    assert gone(pid)


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time it goes all the same."""
    monkeypatch.setattr(child, "STOP_SECONDS", 0.1)
    async with child.running("it", [DEAF], tmp_path / "log", {}, clock=SystemClock()) as running:
        await running.writes(tmp_path / "up", within=30)
    assert running.process.returncode == -9


async def test_what_a_process_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it dies at once and leaves a child that does not listen."""
    monkeypatch.setattr(child, "STOP_SECONDS", 0.1)
    starts = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {DEAF!r}]).pid, flush=True); "
    code = starts + WAITS.replace("up", "parent")
    async with child.running("it", [code], tmp_path / "log", {}, clock=SystemClock()) as running:
        await running.writes(tmp_path / "up", within=30)
        grandchild = int(running.tail())
        assert not gone(grandchild)
    assert gone(grandchild)


async def test_a_process_is_ended_when_the_block_fails(tmp_path: Path) -> None:
    """A failure leaves nothing behind."""
    pids: list[int] = []

    async def fail() -> None:
        async with child.running("it", [WAITS], tmp_path / "log", {}, clock=SystemClock()) as running:
            pids.append(running.process.pid)
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await fail()
    assert gone(pids[0])


async def test_a_process_that_ends_early_is_named(tmp_path: Path) -> None:
    """Waiting for its file ends at once, and its log has the reason."""
    async with child.running("agent", [ENDS], tmp_path / "log", {}, clock=SystemClock()) as running:
        with pytest.raises(Unavailable, match="agent ended with 2"):
            await running.writes(tmp_path / "never", within=30)
        assert running.tail() == "no such option\n"


async def test_a_process_that_makes_nothing_is_named(tmp_path: Path) -> None:
    """Waiting for its file has an end."""
    async with child.running("agent", [WAITS], tmp_path / "log", {}, clock=SystemClock()) as running:
        with pytest.raises(Unavailable, match="agent did not make never"):
            await running.writes(tmp_path / "never", within=0)


async def test_settings_are_the_demos_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's settings of meshca do not reach it."""
    monkeypatch.setenv("MESHCA__WORKERS", "7")
    assert await child.output_of("it", [PRINTS]) == "unset\n"
    assert child.environment({"MESHCA__WORKERS": "1"})["MESHCA__WORKERS"] == "1"


async def test_a_command_that_fails_says_why() -> None:
    """With what it wrote to standard error."""
    with pytest.raises(Unavailable, match="token failed: not so"):
        await child.output_of("token", ["raise SystemExit('not so')"])


async def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has its time."""
    monkeypatch.setattr(child, "_COMMAND_SECONDS", 0.1)
    with pytest.raises(Unavailable, match="token did not end"):
        await child.output_of("token", [WAITS])
