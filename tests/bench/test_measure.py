"""The measurements of `make bench`, small: what they are of, not what they say."""

from __future__ import annotations

from pathlib import Path

from bench.__main__ import measure
from bench.figures import REQUIRED, figures


def test_every_required_figure_is_measured(tmp_path: Path) -> None:
    """By a real server and real agents, two runs of each."""
    found = figures(measure(tmp_path, count=200, runs=2), 2)  # it refuses by itself when a run is missing
    assert set(REQUIRED) <= found.keys()
    for key, row in found.items():
        assert 0 < row["min"] <= row["median"] <= row["max"], key
