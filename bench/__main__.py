"""`make bench`: every figure of this machine in this run, beside the floor that it stands on.

Figures are not goals: a machine may be busy. Shares of the floor travel between machines, the rest does not.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench import agent, issuance
from bench.figures import Figure, figure, table, write
from bench.floor import per_core_per_second
from bench.processes import resident_mb
from bench.server import running_ca

RESULTS = Path(__file__).parent / "results.json"


def start_seconds(folder: Path) -> float:
    """From starting the CA in an empty folder to the first certificate in a client's hand."""
    with running_ca(folder) as ca:
        asyncio.run(issuance.drive(ca, issuance.prepare(ca, 1), 1))
        return time.monotonic() - ca.started


def measure(folder: Path, *, count: int, runs: int) -> dict[str, Figure]:
    """All figures, each of several runs."""
    floors = [per_core_per_second() for _ in range(runs)]
    results = {"floor.per_core_per_s": figure(floors)}
    results["start.first_certificate_s"] = figure([start_seconds(folder / f"start-{run}") for run in range(runs)])
    with running_ca(folder / "ca") as ca:
        results["server.rss_idle_mb"] = figure([resident_mb(ca.pid, whole_family=True)])
        results |= issuance.measure(ca, floors, count=count, runs=runs)
        with agent.running_agent(ca, folder / "agent") as running:
            results |= agent.measure(running, count=count // 5, streams=max(count // 3, 100), runs=runs)
    return results


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="requests in each run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshca-bench-") as folder:
        results = measure(Path(folder), count=arguments.count, runs=arguments.runs)
    print(table(results))
    write(results, RESULTS)
    print(f"written: {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
