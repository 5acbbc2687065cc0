"""A candidate as a process: while it leads it adds its name to a ConfigMap, several times a second.

python -m tests.e2e.kube.leader_process KUBECONFIG NAMESPACE IDENTITY
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from meshca.clock import SystemClock
from meshca.config.kubernetes import KubernetesConfig
from meshca.kube.api import Api
from meshca.kube.connection import connect
from meshca.kube.lease import Election, NotLeading, Times
from meshca.kube.lease_lock import KubeLock

LEASE, COUNTER = "leader", "counter"
TIMES = Times(duration=3, deadline=2.0, retry=0.3)
PAUSE = 0.2


async def work(api: Api, namespace: str, election: Election) -> None:
    """Write one entry after the other, each after asking the fence."""
    number = 0
    while True:
        await asyncio.sleep(PAUSE)
        number += 1
        try:
            election.fence()
        except NotLeading:
            continue
        entry = {"data": {f"{election.identity}.{number:06}": election.identity}}
        await api.merge(f"/api/v1/namespaces/{namespace}/configmaps/{COUNTER}", entry)


async def main(kubeconfig: Path, namespace: str, identity: str) -> None:
    """Stand for election until told to end."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    config = KubernetesConfig(kubeconfig=kubeconfig, timeout=timedelta(seconds=1))
    async with connect(config) as api:
        election = Election(KubeLock(api, namespace, LEASE, identity), identity, SystemClock(), TIMES)
        # The work does not stop when the lease is lost: only the fence is between it and the cluster.
        tasks = [asyncio.create_task(election.run()), asyncio.create_task(work(api, namespace, election))]
        await ending.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await election.release()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
