"""The map of the rooms is true: it names every room, and every file that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
NO_ROOMS = {"__init__", "__main__", "_proto"}
ROOMS = {path.stem for path in (ROOT / "meshca").iterdir() if path.is_dir() or path.suffix == ".py"}
FILES = sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", TEXT)))


@pytest.mark.parametrize("room", sorted(ROOMS - NO_ROOMS - {"__pycache__"}))
def test_every_room_has_a_row(room: str) -> None:
    """A reader finds what each room does."""
    assert re.search(rf"^\|[^|]*`{room}`", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_every_named_file_is_there(name: str) -> None:
    """A reader who follows the map arrives."""
    assert (ROOT / "meshca" / name).is_file() or (ROOT / name).is_file()
