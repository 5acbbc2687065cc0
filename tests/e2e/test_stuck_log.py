"""A log that nobody reads any more: a pipe that is full must hold up neither answers nor the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshca.admission.parse import shipped_text
from tests.real.dev_server import Server, running_server, wait_for


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rule file that grants what the shipped one does."""
    path = tmp_path / "rules.yaml"
    path.write_text(shipped_text())
    return path


@pytest.fixture
def server(tmp_path: Path, pipe: tuple[int, int], rules: Path) -> Iterator[Server]:
    """A server of one worker whose log goes into the pipe."""
    settings = {
        "MESHCA__WORKERS": "1",
        "MESHCA__ADMISSION__FILE": str(rules),
        "MESHCA__SERVING__DRAIN_TIMEOUT": "5s",
    }
    with running_server(tmp_path / "ca", settings=settings, log=pipe[1]) as running:
        yield running


def fill(end: int) -> None:
    """Write into a pipe until it takes no byte more."""
    os.set_blocking(end, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(end, b"x" * size)
    os.set_blocking(end, True)


def test_answers_and_ends(server: Server, pipe: tuple[int, int], rules: Path) -> None:
    """Changed rules come into force although the change is logged, probes are answered, and SIGTERM ends it."""
    assert server.http("/readyz")[0] == 200
    fill(pipe[1])
    rules.write_text("rules: [")
    wait_for(lambda: server.metric('meshca_reload_failures_total{what="admission"}') == 1)
    assert [server.http(page)[0] for page in ("/livez", "/readyz")] == [200, 200]
    assert server.stop() == 0
