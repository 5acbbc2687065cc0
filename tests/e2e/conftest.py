"""A folder with a name short enough for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the test's own: a socket's path has at most 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="meshca-r-", dir="/tmp") as folder:
        yield Path(folder)
