"""`make bench`: every figure of this machine in this run, beside the floor that it stands on.

Figures are not goals: a machine may be busy. Shares of the floor travel between machines, the rest does not.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from bench import agent, issuance, kube, rotation, vault
from bench.figures import Samples, figure, figures, table, write
from bench.floor import per_core_per_second
from bench.processes import resident_mb
from bench.server import running_ca
from tests.e2e.kube.build import cached

RESULTS = Path(__file__).parent / "results.json"
LARGE = (500, 1000)
LARGE_WINDOW = timedelta(seconds=30)


def fresh_start(folder: Path) -> tuple[float, float]:
    """A CA that starts in an empty folder.

    Returns:
        The memory of the family in MB before its first certificate, and the seconds from its start until that is
        in a client's hand.
    """
    with running_ca(folder) as ca:
        idle = resident_mb(ca.pid, whole_family=True)
        asyncio.run(issuance.drive(ca, issuance.prepare(ca, 1), 1))
        return idle, time.monotonic() - ca.started


def measure(folder: Path, *, count: int, runs: int, streams: int = rotation.STREAMS) -> Samples:
    """Everything that needs no cluster, each of so many runs."""
    floors = [per_core_per_second() for _ in range(runs)]
    starts = [fresh_start(folder / f"start-{run}") for run in range(runs)]
    samples: Samples = {
        "floor.per_core_per_s": floors,
        "start.first_certificate_s": [seconds for _, seconds in starts],
        "server.rss_idle_mb": [idle for idle, _ in starts],
    }
    with running_ca(folder / "ca") as ca:
        samples |= issuance.measure(ca, floors, count=count, runs=runs)
        samples |= agent.measure(ca, folder, count=count // 5, streams=max(count // 3, 100), runs=runs)
    return samples | rotation.measure(folder / "rotating", streams=streams, window=timedelta(0), runs=runs)


def measure_large(folder: Path) -> Samples:
    """Fleets as large as a machine of this kind has room for, each replaced once within half a minute."""
    samples: Samples = {}
    for count in LARGE:
        place = folder / f"large-{count}"
        samples |= rotation.measure(place, streams=count, window=LARGE_WINDOW, runs=1)
    return samples


def measure_cluster(folder: Path, *, count: int, runs: int) -> Samples:
    """Everything that needs a Kubernetes API server; nothing where none can be had."""
    if shutil.which("go") or cached().exists():
        return kube.measure(folder, count=count, runs=runs)
    print("left out: the figures with a Kubernetes API server, which needs Go to be built")
    return {}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="requests in each run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure")
    parser.add_argument("--large", action="store_true", help="only replace roots below large fleets: minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshca-bench-") as folder:
        if arguments.large:
            print(table({key: figure(values) for key, values in measure_large(Path(folder)).items()}))
            return
        options = {"count": arguments.count, "runs": arguments.runs}
        samples = measure(Path(folder), **options) | vault.measure(Path(folder), **options)
        samples |= measure_cluster(Path(folder), **options)
        results = figures(samples, arguments.runs)
    print(table(results))
    write(results, RESULTS)
    print(f"written: {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")


if __name__ == "__main__":
    main()
