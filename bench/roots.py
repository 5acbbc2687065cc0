"""How long other roots take to be in the ConfigMap of every namespace, on a real API server.

    python -m tests.e2e.kube.control_plane python -m bench.roots [--namespaces 2000] [--runs 3]

Namespaces are made first and left to the cluster's own end.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from bench.figures import Samples, figure, table
from meshca.kube.root_config_maps import RootConfigMaps
from tests.e2e.kube.cluster import TestCluster, open_cluster, until
from tests.e2e.kube.publishing import FIRST, SECOND, Roots

SECONDS = 300.0


async def measure(count: int, runs: int, kubeconfig: Path | None = None) -> Samples:
    """Seconds of each change, CPU seconds of it here, and seconds of a start that finds all as it is."""
    async with open_cluster(kubeconfig) as cluster:
        await _make(cluster, count)
        changes, cpu, published = [], [], Roots()
        async with published.publishing(cluster.api) as maps:
            await _in_sync(maps, count)
            for run in range(runs):
                begun, used = time.monotonic(), time.process_time()
                maps.want(SECOND if run % 2 == 0 else FIRST)
                await _in_sync(maps, count)
                changes.append(time.monotonic() - begun)
                cpu.append(time.process_time() - used)
        restarts = []
        for _ in range(runs):
            begun = time.monotonic()
            async with published.publishing(cluster.api, roots=SECOND if runs % 2 == 1 else FIRST) as maps:
                await _in_sync(maps, count)
                restarts.append(time.monotonic() - begun)
        cluster.forget()
    return {
        f"kubernetes.roots.change_of_{count}_namespaces_s": changes,
        f"kubernetes.roots.change_of_{count}_namespaces_cpu_s": cpu,
        f"kubernetes.roots.restart_with_{count}_namespaces_s": restarts,
    }


async def _make(cluster: TestCluster, count: int) -> None:
    places = asyncio.Semaphore(16)

    async def one() -> None:
        async with places:
            await cluster.namespace()

    await asyncio.gather(*(one() for _ in range(count)))


async def _in_sync(maps: RootConfigMaps, count: int) -> None:
    await until(
        lambda: (kept := maps.report()) is not None and kept.in_sync >= count and not kept.pending, SECONDS
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench.roots", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    samples = asyncio.run(measure(arguments.namespaces, arguments.runs))
    print(table({key: figure(values) for key, values in samples.items()}))


if __name__ == "__main__":
    main()
