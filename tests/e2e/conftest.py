"""A server with defaults, and a folder with a name short enough for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.dev_server import Server, running_server


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the test's own: a socket's path has at most 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="meshca-r-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with defaults, one worker."""
    with running_server(tmp_path_factory.mktemp("ca"), settings={"MESHCA__WORKERS": "1"}) as running:
        yield running
