"""What reviews of tokens cost a real API server: how long each holds, and how many are under way at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.e2e.kube.cluster import TestCluster
from tests.e2e.kube.proving import meshca, serve
from tests.e2e.kube.serve import RULES
from tests.real.dev_server import Key

pytestmark = pytest.mark.real("kubernetes")
IN_FLIGHT = 'meshca_token_reviews_in_flight{cluster="home"}'
SPENT = 'meshca_token_review_seconds_sum{{cluster="home",part="{}"}}'
REVIEWED = 'meshca_token_reviews_total{{cluster="home",result="{}"}}'


@pytest.mark.parametrize(("cache", "good", "remembered"), [("10s", 1, 4), ("0s", 5, 0)])
async def test_how_long_a_review_holds(
    cluster: TestCluster, namespace: str, tmp_path: Path, cache: str, good: int, remembered: int
) -> None:
    """Five uses of a token: one review, or five. The administrator sees for how long one holds."""
    token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
    with await serve(cluster, tmp_path, *RULES, token_review={"cache": cache}) as server:
        for _ in range(5):
            await server.create(token)
        assert server.metric(REVIEWED.format("good")) == good
        assert server.metric(REVIEWED.format("remembered")) == remembered
        assert server.metric(IN_FLIGHT) == 0
        assert server.metric('meshca_token_review_seconds_count{cluster="home",part="call"}') == good
        holds = "a review holds 10s" if cache == "10s" else "every use is reviewed"
        assert f"tokens are proven by cluster home, mode review: {holds}" in meshca(server, "status")


async def test_a_storm_of_pods(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    """A thousand tokens at once: every one is issued, and no more reviews are under way than configured."""
    pods = await asyncio.gather(*(cluster.pod(namespace, "web", name=f"web-{number}") for number in range(50)))
    tokens: list[str] = []
    for _ in range(20):
        tokens += await asyncio.gather(*(cluster.token(namespace, "web", pod=pod) for pod in pods))
    request = IstioCertificateRequest(csr=Key().csr)
    in_flight: list[float] = []
    with await serve(cluster, tmp_path, *RULES) as server:
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(server.channel()) for _ in range(100)]
            stubs: list[Any] = [IstioCertificateServiceStub(channel) for channel in channels]
            begun = time.monotonic()

            async def issue(number: int) -> float:
                metadata = [("authorization", f"Bearer {tokens[number]}")]
                await stubs[number % 100].CreateCertificate(request, metadata=metadata, timeout=60)
                return time.monotonic() - begun

            issuing = asyncio.gather(*map(issue, range(1000)))
            while not issuing.done():
                in_flight.append(await asyncio.to_thread(server.metric, IN_FLIGHT))
                await asyncio.sleep(0.05)
            ends = sorted(await issuing)
        assert server.metric(REVIEWED.format("good")) == 1000
        assert 0 < max(in_flight) <= 16
        print(  # noqa: T201 - figures for a note
            f"1,000 tokens at once: half after {ends[500]:.2f} s, all after {ends[-1]:.2f} s,"
            f" at most {max(in_flight):.0f} reviews at once;"
            f" reviews took {server.metric(SPENT.format('call')):.1f} s,"
            f" waiting for one {server.metric(SPENT.format('queue')):.1f} s in all"
        )
