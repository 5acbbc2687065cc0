"""Vault as the upstream: what an intermediate takes, beside the floor of a bare call, and what a leaf pays.

    python -m bench.vault [--count 3000] [--runs 3]

A real OpenBao on this machine. Leaves are issued by two servers in turn, one below Vault and one below a root of
its own, so that both meet the same machine; no leaf asks Vault for anything, so their ratio is to be 1.
`bench.vault_leaves` has Vault sign each.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench import issuance, vault_leaves
from bench.figures import Samples, figure, percentile, table
from bench.processes import cpu_seconds
from bench.server import Ca, running_ca
from meshca.app import openbao_process
from meshca.app.openbao_mount import Mount, enable_approle, new_mount
from meshca.app.openbao_process import OpenBao, find_openbao, free_pair
from meshca.clock import SystemClock
from meshca.config.vault import VaultConfig
from meshca.identity.spiffe_id import TrustDomain
from meshca.upstream.vault.mount import look
from meshca.upstream.vault.opening import reach
from meshca.upstream.vault.sight import judged
from meshca.upstream.vault.signing import Signing

TRUST_DOMAIN: Final = TrustDomain("cluster.local")
TURNS: Final = 4  # of each server in one run
SIGNED_PART: Final = 10  # of so many leaves one intermediate is signed in each run


def measure(folder: Path, *, count: int, runs: int) -> Samples:
    """Everything that needs OpenBao, each of so many runs; nothing where it is not installed."""
    binary = find_openbao()
    if binary is None:
        print("left out: the figures with OpenBao, which the extra `demo-vault` installs")
        return {}
    return asyncio.run(_measure(binary, folder, count=count, runs=runs))


async def _measure(binary: Path, folder: Path, *, count: int, runs: int) -> Samples:
    place = folder / "vault"
    place.mkdir()
    async with openbao_process.running(binary, place, free_pair(), clock=SystemClock()) as server:
        await enable_approle(server)
        mount = await new_mount(server, "pki")
        upstream = _upstream(server, mount, place)
        samples = await _intermediates(server, upstream, max(count // SIGNED_PART, 10), runs)
        samples |= await asyncio.to_thread(_leaves, upstream, folder, count, runs)
        return samples | await vault_leaves.measure(server, mount, upstream, folder, count=count, runs=runs)


def _upstream(server: OpenBao, mount: Mount, folder: Path) -> dict[str, Any]:
    """The configuration over a mount."""
    secret_id, pins = folder / "secret-id", folder / "roots.pem"
    secret_id.write_text(mount.secret_id.reveal())
    pins.write_text(mount.root)
    return {
        "kind": "vault",
        "address": server.address,
        "allow_http": True,
        "mount": mount.path,
        "login": {"approle": {"role_id": mount.role_id, "secret_id_file": str(secret_id)}},
        "roots": {"file": str(pins)},
    }


async def _intermediates(server: OpenBao, upstream: dict[str, Any], count: int, runs: int) -> Samples:
    """Key, request, signature, and judgement of the answer with its trial leaf; then as many bare calls."""
    samples: Samples = {}
    clock, config = SystemClock(), VaultConfig.model_validate(upstream)
    async with reach(config, environ={}, clock=clock) as way:
        found = await look(way.client, config.mount, config.issuer)
        roots = judged(config.roots, found, known=(), now=clock.now()).roots
        signing = Signing(config, way.session, TRUST_DOMAIN, clock)
        await signing.below(found.current, roots)  # logs in
        for _ in range(runs):
            signed = []
            for _ in range(count):
                begun = time.perf_counter()
                await signing.below(found.current, roots)
                signed.append(time.perf_counter() - begun)
            bare = await asyncio.to_thread(_bare_calls, server.port, count)
            for key, value in _latencies(signed, bare).items():
                samples.setdefault(key, []).append(value)
    return samples


def _latencies(signed: list[float], bare: list[float]) -> dict[str, float]:
    return {
        "vault.sign_intermediate.p50_ms": 1000 * percentile(signed, 0.5),
        "vault.sign_intermediate.p99_ms": 1000 * percentile(signed, 0.99),
        "vault.floor.health.p50_ms": 1000 * percentile(bare, 0.5),
        "vault.sign_intermediate.times_floor": percentile(signed, 0.5) / percentile(bare, 0.5),
    }


def _bare_calls(port: int, count: int) -> list[float]:
    """Seconds that each of so many calls took that ask for nothing, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        connection.request("GET", "/v1/sys/health")
        connection.getresponse().read()
        took.append(time.perf_counter() - begun)
    connection.close()
    return took


def _leaves(upstream: dict[str, Any], folder: Path, count: int, runs: int) -> Samples:
    """Certificates per CPU-second of a server below Vault, of one below a root of its own, and their ratio."""
    environment = {"MESHCA__UPSTREAM": json.dumps(upstream)}
    with running_ca(folder / "below-vault", environment) as below, running_ca(folder / "by-itself") as alone:
        for ca in (below, alone):
            asyncio.run(issuance.drive(ca, issuance.prepare(ca, count // 4), issuance.CONCURRENCY))  # warm-up
        pairs = [_both(below, alone, count) for _ in range(runs)]
    return {
        "vault.issuance.certs_per_cpu_s": [mine for mine, _ in pairs],
        "vault.issuance.times_self_signed": [mine / other for mine, other in pairs],
    }


def _both(below: Ca, alone: Ca, count: int) -> tuple[float, float]:
    """The rates of both, by turns, so that what else the machine does meets both."""
    spent = dict.fromkeys((below, alone), 0.0)
    for ca in (below, alone) * TURNS:
        calls = issuance.prepare(ca, count // TURNS)
        before = cpu_seconds(ca.pid)
        asyncio.run(issuance.drive(ca, calls, issuance.CONCURRENCY))
        spent[ca] += cpu_seconds(ca.pid) - before
    return count / spent[below], count / spent[alone]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench.vault", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="certificates in each run")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        samples = measure(Path(folder), count=arguments.count, runs=arguments.runs)
    if samples:
        print(table({key: figure(values) for key, values in samples.items()}))


if __name__ == "__main__":
    main()
