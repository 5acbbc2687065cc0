"""A worker that hangs, as one that SIGSTOP has reached: nothing else may wait for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshca.admission.parse import shipped_text
from tests.real.dev_server import Server, running_server, wait_for

DRAIN = 2  # seconds
LARGE = "# more than a socket holds\n" * 20_000
SETTINGS = {"MESHCA__WORKERS": "2", "MESHCA__SERVING__DRAIN_TIMEOUT": f"{DRAIN}s"}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rule file that grants what the shipped one does."""
    path = tmp_path / "rules.yaml"
    path.write_text(shipped_text())
    return path


@pytest.fixture
def server(tmp_path: Path, rules: Path) -> Iterator[Server]:
    """A server of two workers with that file."""
    with running_server(tmp_path / "ca", settings={**SETTINGS, "MESHCA__ADMISSION__FILE": str(rules)}) as running:
        yield running


def events(server: Server, name: str) -> list[int]:
    """The process ids in the log lines of one event."""
    return [int(line.get("pid", 0)) for line in server.log() if line["event"] == name]


def reloads(server: Server) -> int:
    """How many changes have come into force."""
    return len(events(server, "reload.done"))


def test_news_are_not_held_up(server: Server, rules: Path) -> None:
    """Changed rules come into force, the hung worker is killed and its place filled again."""
    victim = int(server.workers()[0]["pid"])
    os.kill(victim, signal.SIGSTOP)
    rules.write_text(shipped_text() + LARGE)
    wait_for(lambda: reloads(server) == 1)
    wait_for(lambda: events(server, "worker.hung") == [victim])
    rules.write_text(shipped_text())
    wait_for(lambda: reloads(server) == 2)
    wait_for(lambda: server.http("/readyz")[0] == 200 and victim not in {one["pid"] for one in server.workers()})


def test_stop_is_not_held_up(server: Server) -> None:
    """SIGTERM ends the server in an orderly way, the hung worker with it."""
    victim = int(server.workers()[0]["pid"])
    os.kill(victim, signal.SIGSTOP)
    assert server.stop() == 0
    assert not Path(f"/proc/{victim}").exists()


def test_noticed_without_being_asked(server: Server) -> None:
    """A worker that hangs in silence is found by the parent, and the log tells when the server was whole."""
    victim = int(server.workers()[0]["pid"])
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: events(server, "worker.hung") == [victim], 60)
    wait_for(lambda: bool(events(server, "server.ready_again")), 60)
    assert len(events(server, "server.not_ready")) == 1
    assert server.metric("meshca_workers_ready") == 2
