"""The demo obeys the first signal only, and cleans up undisturbed."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile

import pytest

from meshca.app.demo import python_story, run
from meshca.app.demo.parts import Start
from meshca.app.demo.run import run as run_demo
from meshca.app.demo.telling import Teller
from meshca.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.demo_display import FakeDisplay


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_second_signal_does_not_disturb_cleaning_up(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """What was started is ended to the end."""
    cleaned: list[str] = []

    async def clean_up() -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)  # lets the loop see the signal
        await asyncio.sleep(0)
        cleaned.append("all")

    async def play(start: Start, _began: float) -> list[str]:
        start.running.push_async_callback(clean_up)
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(python_story, "play", play)
    with pytest.raises(Unavailable, match="interrupted"):
        await run_demo(Teller(FakeDisplay(), FakeClock()), binary=None, began=0.0)
    assert cleaned == ["all"]


async def test_the_folder_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything in it."""
    folders = []

    async def play(start: Start, _began: float) -> list[str]:
        (start.places.folder / "token").write_text("x")
        folders.append(start.places.folder)
        return []

    monkeypatch.setattr(python_story, "play", play)
    await run_demo(Teller(FakeDisplay(), FakeClock()), binary=None, began=0.0)
    assert [folder.exists() for folder in folders] == [False]


async def test_a_kept_demo_shows_what_to_try_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a signal comes, which is its ordinary end."""
    shown: list[list[str]] = []

    async def play(_start: Start, _began: float) -> list[str]:
        return ["curl it"]

    def kept(commands: object) -> None:
        assert isinstance(commands, list)
        shown.append(commands)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(python_story, "play", play)
    await run_demo(Teller(FakeDisplay(), FakeClock()), binary=None, began=0.0, kept=kept)
    assert shown == [["curl it"]]


@pytest.mark.parametrize(
    ("configured", "used"), [("/tmp", "/tmp"), ("/var/folders" + "/long" * 20, "/tmp")], ids=["short", "long"]
)
def test_sockets_find_room_in_the_folder(monkeypatch: pytest.MonkeyPatch, configured: str, used: str) -> None:
    """A long temporary folder would make the sockets' paths too long."""
    monkeypatch.setattr(tempfile, "tempdir", configured)
    assert run._base() == used
