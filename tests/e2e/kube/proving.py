"""A server that proves callers by a real cluster: how it refuses a token, and what its administrator sees."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.kube.cluster import TestCluster
from tests.e2e.kube.serve import serving_cluster
from tests.real.dev_server import MESHCA, Certificate, Server, reason, refused

Serving = contextlib.AbstractContextManager[Server]
NO_LIMITS = {"per_identity": {"rate": 1e5, "burst": 100_000}, "per_namespace": {"rate": 1e5, "burst": 100_000}}


async def serve(
    cluster: TestCluster, folder: Path, *rules: Any, reached: bool = True, **kubernetes: Any
) -> Serving:
    """A server whose account has exactly these rules; to be entered."""
    account = await cluster.account(folder, await cluster.namespace(), "meshca", cluster_rules=rules)
    section = {"kubeconfig": str(account.kubeconfig), **kubernetes}
    return serving_cluster(folder / "ca", section, reached=reached, limits=NO_LIMITS)


async def why_refused(server: Server, token: str) -> tuple[str, str]:
    """Status and reason of a refusal."""
    error = await refused(server.create(token))
    return error.code().name, reason(error)


def meshca(server: Server, *arguments: str) -> str:
    """What an administrator's command prints."""
    environ = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = subprocess.run([*MESHCA, *arguments], env=environ, capture_output=True, text=True, check=True)
    return run.stdout


def in_ledger(server: Server, certificate: Certificate) -> dict[str, Any]:
    """The record of a certificate."""
    serial = f"{certificate.leaf.serial_number:x}"
    found: dict[str, Any] = json.loads(meshca(server, "ledger", "show", serial, "-o", "json"))
    return found
