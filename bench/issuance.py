"""Certificates per CPU-second of the server, and how long one call takes.

Every request has a CSR of its own with a fresh key and a token of its own (another pod), so that nothing that
the server may remember helps it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bench.figures import Samples, percentile
from bench.processes import cpu_seconds
from bench.server import Ca
from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from meshca.identity.service_account import ServiceAccount

CONNECTIONS = 8  # spread over the workers by SO_REUSEPORT
CONCURRENCY = 32
NAMESPACES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request with its token."""

    request: IstioCertificateRequest
    metadata: tuple[tuple[str, str], ...]


def prepare(ca: Ca, count: int) -> list[Call]:
    """So many calls that have nothing in common."""
    issuer = ca.issuer
    return [_call(issuer.mint(_account(index), pod=f"pod-{index}").reveal()) for index in range(count)]


def _account(index: int) -> ServiceAccount:
    return ServiceAccount(namespace=f"bench-{index % NAMESPACES}", name=f"workload-{index}")


def _call(token: str) -> Call:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    request = IstioCertificateRequest(csr=csr.public_bytes(Encoding.PEM).decode())
    return Call(request=request, metadata=(("authorization", f"Bearer {token}"),))


async def drive(ca: Ca, calls: Sequence[Call], concurrency: int) -> list[float]:
    """Make every call once; seconds that each took. Raises grpc's error if one fails."""
    credentials = grpc.ssl_channel_credentials(ca.root)
    # A channel's own pool of subchannels keeps connections apart, so that every worker gets some.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.secure_channel(ca.endpoint, credentials, options) for _ in range(min(CONNECTIONS, concurrency))
    ]
    stubs = [IstioCertificateServiceStub(channel) for channel in channels]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    waiting = iter(calls)
    took: list[float] = []

    async def caller(index: int) -> None:
        create = stubs[index % len(stubs)].CreateCertificate
        for call in waiting:
            started = time.perf_counter()
            await create(call.request, metadata=call.metadata, timeout=30)
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(caller(index) for index in range(concurrency)))
    for channel in channels:
        await channel.close()
    return took


def measure(ca: Ca, floors: Sequence[float], *, count: int, runs: int) -> Samples:
    """Throughput at 32 callers against the floor, and latency at 1 and at 32."""
    asyncio.run(drive(ca, prepare(ca, count // 4), CONCURRENCY))  # warm-up
    rates, shares, busy, alone = [], [], [], []
    for run in range(runs):
        calls = prepare(ca, count)
        before = cpu_seconds(ca.pid)
        busy.append(asyncio.run(drive(ca, calls, CONCURRENCY)))
        rates.append(count / (cpu_seconds(ca.pid) - before))
        shares.append(rates[-1] / floors[run])
        alone.append(asyncio.run(drive(ca, prepare(ca, count // 10), 1)))
    return {
        "issuance.unary.certs_per_cpu_s": rates,
        "issuance.unary.share_of_floor": shares,
        "issuance.unary.p50_ms": [1000 * percentile(run, 0.5) for run in alone],
        "issuance.unary.p99_ms": [1000 * percentile(run, 0.99) for run in alone],
        "issuance.unary.c32.p50_ms": [1000 * percentile(run, 0.5) for run in busy],
        "issuance.unary.c32.p99_ms": [1000 * percentile(run, 0.99) for run in busy],
    }
