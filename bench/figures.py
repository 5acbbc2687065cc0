"""Figures: several runs become minimum, median and maximum; a table for people and JSON for scripts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

Figure = dict[str, float]


def figure(values: Sequence[float]) -> Figure:
    """Minimum, median and maximum of several runs."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share (0 to 1) of the sorted values lies; the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(results: Mapping[str, Figure]) -> str:
    """One line for each figure."""
    width = max(len(name) for name in results)
    lines = [f"{'figure'.ljust(width)}  {'min':>12}  {'median':>12}  {'max':>12}"]
    lines += [
        f"{name.ljust(width)}  " + "  ".join(f"{row[column]:12,.3f}" for column in ("min", "median", "max"))
        for name, row in results.items()
    ]
    return "\n".join(lines)


def write(results: Mapping[str, Figure], path: Path) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(results, indent=2) + "\n")
