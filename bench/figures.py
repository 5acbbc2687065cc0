"""Figures: several runs become minimum, median and maximum; a table for people and JSON for scripts."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Figure = dict[str, float]
Samples = dict[str, list[float]]  # one value for each run

# What readers of the JSON may count on; keys may be added, and none changes its meaning.
REQUIRED: Final = (
    "floor.per_core_per_s",
    "issuance.unary.certs_per_cpu_s",
    "issuance.unary.share_of_floor",
    "issuance.unary.p50_ms",
    "issuance.unary.p99_ms",
    "sds.fresh_stream_p99_ms",
    "sds.kb_per_stream",
    "server.rss_idle_mb",
    "agent.rss_idle_mb",
    "start.first_certificate_s",
    "rotation.streams_200.p50_s",
    "rotation.streams_200.p99_s",
)


def figures(samples: Samples, runs: int) -> dict[str, Figure]:
    """A figure of each key's samples.

    Raises:
        ValueError: a required key is missing, or a key has another number of samples than there were runs.
    """
    if missing := [key for key in REQUIRED if key not in samples]:
        raise ValueError(f"not measured: {', '.join(missing)}")
    if odd := [key for key, values in samples.items() if len(values) != runs]:
        raise ValueError(f"not measured once in each of {runs} runs: {', '.join(odd)}")
    return {key: figure(values) for key, values in samples.items()}


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
