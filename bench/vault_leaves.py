"""Leaves in a second where Vault signs each, beside the bound: the same signatures asked of Vault by themselves.

Both by as many connections as the server has, over the same mount of the same run; wall-clock, because most of it
is spent in Vault.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench import issuance
from bench.figures import Samples
from bench.server import running_ca
from meshca.app.openbao_mount import Mount, sign_leaves
from meshca.app.openbao_process import OpenBao
from meshca.authority.outside import LeafWish
from meshca.upstream.vault.leaves import AT_ONCE, body_of

ROLE: Final = "mesh-leaf"
LIFE: Final = timedelta(hours=1)


async def measure(  # noqa: PLR0913 - what there is, and the size of it
    server: OpenBao, mount: Mount, upstream: dict[str, Any], folder: Path, *, count: int, runs: int
) -> Samples:
    """Rates of both, and their ratio, in each of so many runs."""
    await sign_leaves(server, mount, ROLE, "cluster.local")
    listed = await server.call("GET", f"{mount.path}/issuers?list=true")
    path = f"/v1/{mount.path}/issuer/{listed['data']['keys'][0]}/sign/{ROLE}"
    environment = {"MESHCA__UPSTREAM": json.dumps({**upstream, "sign_leaves": {"role": ROLE}})}
    return await asyncio.to_thread(_rates, server, path, environment, folder, count, runs)


def _rates(  # noqa: PLR0913, PLR0917 - what a thread takes
    server: OpenBao, path: str, environment: dict[str, str], folder: Path, count: int, runs: int
) -> Samples:
    ours, bound = [], []
    with running_ca(folder / "signed-by-vault", environment) as ca:
        asyncio.run(issuance.drive(ca, issuance.prepare(ca, count // 4), issuance.CONCURRENCY))  # warm-up
        for _ in range(runs):
            calls = issuance.prepare(ca, count)
            bodies = [_body(call.request.csr) for call in calls]
            begun = time.perf_counter()
            asyncio.run(issuance.drive(ca, calls, issuance.CONCURRENCY))
            ours.append(count / (time.perf_counter() - begun))
            bound.append(count / _seconds(server, path, bodies))
    return {
        "vault.sign_leaves.certs_per_s": ours,
        "vault.sign_leaves.bound.signatures_per_s": bound,
        "vault.sign_leaves.share_of_bound": [mine / most for mine, most in zip(ours, bound, strict=True)],
    }


def _body(csr: str) -> str:
    identity = "spiffe://cluster.local/ns/bench/sa/workload"
    wish = LeafWish(csr=csr, identity=identity, not_after=datetime.now(UTC) + LIFE, issuer="")
    return json.dumps(body_of(wish))


def _seconds(server: OpenBao, path: str, bodies: Sequence[str]) -> float:
    """How long so many bare signatures take, on as many connections as ours."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(
            lambda part: _sign(server, path, part), [bodies[lane::AT_ONCE] for lane in range(AT_ONCE)]
        ):
            pass
    return time.perf_counter() - begun


def _sign(server: OpenBao, path: str, bodies: Sequence[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for body in bodies:
        connection.request("POST", path, body, {"X-Vault-Token": server.root_token.reveal()})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{answer.status} {said[:200]!r}")
    connection.close()
