"""A real API server behind the CA: token reviews, a storm of starting pods, the pod watch, the roots everywhere.

The control plane is the one of `make test-kube`, on loopback, without kubelets. Every request has a token of its
own, so that no answer is remembered.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from bench import roots
from bench.figures import Samples
from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from meshca.clock import SystemClock
from meshca.kube.informer import Informer
from meshca.kube.pods import read_pod
from tests.e2e.kube.cluster import TestCluster, open_cluster
from tests.e2e.kube.control_plane import running_control_plane
from tests.e2e.kube.serve import RULES, serving_cluster
from tests.real.dev_server import Key, Server

CALLERS: Final = 32
CHANNELS: Final = 64
PODS: Final = 1000
STORM: Final = 1000
NAMESPACES: Final = 2000
LIMITS: Final = {
    "per_identity": {"rate": 1e6, "burst": 1_000_000},
    "per_namespace": {"rate": 1e6, "burst": 1_000_000},
}
_SPENT: Final = 'meshca_token_review_seconds_sum{{cluster="home",part="{}"}}'


def measure(folder: Path, *, count: int, runs: int, namespaces: int = NAMESPACES) -> Samples:
    """Everything that needs a cluster, each of so many runs."""
    (folder / "plane").mkdir()
    with running_control_plane(folder / "plane") as plane:
        samples = asyncio.run(_measure(plane.kubeconfig, folder, count=count, runs=runs))
        return samples | asyncio.run(roots.measure(namespaces, runs, plane.kubeconfig))


async def _measure(kubeconfig: Path, folder: Path, *, count: int, runs: int) -> Samples:
    samples: Samples = {}
    async with open_cluster(kubeconfig) as cluster:
        namespace = await cluster.namespace()
        account = await cluster.account(folder, namespace, "meshca", cluster_rules=RULES)
        pods = [await cluster.pod(namespace, "web", name=f"web-{number}") for number in range(PODS)]
        samples["kubernetes.pods.kb_per_1000"] = [await _memory(cluster) for _ in range(runs)]
        section = {"kubeconfig": str(account.kubeconfig)}
        with serving_cluster(folder / "kube-ca", section, limits=LIMITS, workers=2) as server:
            for _ in range(runs):
                steady = await _steady(server, await _tokens(cluster, namespace, pods, count))
                storm = await _storm(server, await _tokens(cluster, namespace, pods, STORM))
                for key, value in (steady | storm).items():
                    samples.setdefault(f"kubernetes.{key}", []).append(value)
    return samples


async def _tokens(cluster: TestCluster, namespace: str, pods: Sequence[Any], count: int) -> list[str]:
    return [await cluster.token(namespace, "web", pod=pods[number % len(pods)]) for number in range(count)]


async def _steady(server: Server, tokens: Sequence[str]) -> dict[str, float]:
    """Certificates a second with 32 callers, and how much of their time was spent on reviews."""
    before, begun = _spent(server), time.perf_counter()
    took = await _drive(server, tokens, CALLERS)
    return {
        "review.certs_per_s": len(tokens) / (time.perf_counter() - begun),
        "review.share_waiting": (_spent(server) - before) / sum(took),
    }


async def _storm(server: Server, tokens: Sequence[str]) -> dict[str, float]:
    """All at once, as after a node has come back; a call that fails ends the benchmark."""
    begun = time.perf_counter()
    await _drive(server, tokens, len(tokens))
    return {"storm.last_of_1000_s": time.perf_counter() - begun}


async def _drive(server: Server, tokens: Sequence[str], callers: int) -> list[float]:
    """Make every call once; seconds that each took."""
    credentials = grpc.ssl_channel_credentials(server.root)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.secure_channel(server.endpoint(), credentials, options) for _ in range(min(callers, CHANNELS))
    ]
    stubs: list[Any] = [IstioCertificateServiceStub(channel) for channel in channels]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    request, waiting, took = IstioCertificateRequest(csr=Key().csr), iter(tokens), []

    async def caller(index: int) -> None:
        for token in waiting:
            started = time.perf_counter()
            metadata = (("authorization", f"Bearer {token}"),)
            await stubs[index % len(stubs)].CreateCertificate(request, metadata=metadata, timeout=120)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(caller(index) for index in range(callers)))
    for channel in channels:
        await channel.close()
    return took


def _spent(server: Server) -> float:
    return sum(server.metric(_SPENT.format(part)) for part in ("call", "queue"))


async def _memory(cluster: TestCluster) -> float:
    """Kilobytes that the watch keeps of a thousand pods."""
    gc.collect()
    tracemalloc.start()
    informer = Informer(cluster.api, "/api/v1/pods", read_pod, SystemClock())
    task = asyncio.create_task(informer.run())
    await informer.synced()
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return kept / 1000 / len(informer.items) * 1000
