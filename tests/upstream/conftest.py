"""Where the tests of a plugged-in CA find it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an operator puts a CA."""
    made = tmp_path / "ca"
    made.mkdir(mode=0o700)
    return made
