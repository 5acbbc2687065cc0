"""The measurements of `make bench`, small: what they are of, not what they say."""

from __future__ import annotations

from pathlib import Path

from bench.__main__ import measure
from bench.figures import REQUIRED, figures
from bench.rotation import STREAMS


def test_every_required_figure_is_measured(tmp_path: Path) -> None:
    """By a real server and real agents, two runs of each; here with few streams."""
    samples = measure(tmp_path, count=200, runs=2, streams=4)
    named = {key.replace("streams_4.", f"streams_{STREAMS}."): values for key, values in samples.items()}
    found = figures(named, 2)  # it refuses by itself when a run is missing
    assert set(REQUIRED) <= found.keys()
    for key, row in found.items():
        assert 0 < row["min"] <= row["median"] <= row["max"], key
