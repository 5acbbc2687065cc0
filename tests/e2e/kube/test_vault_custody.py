"""Keys below Vault in Secrets of a real cluster: what a pod without a disk finds again, with no right too many."""

from __future__ import annotations

import base64
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshca.app.openbao_process import OpenBao
from tests.e2e.kube.cluster import Account, TestCluster
from tests.e2e.kube.serve import RULES, serving_cluster
from tests.real.openbao import new_mount, vault_config

pytestmark = [pytest.mark.real("kubernetes"), pytest.mark.real("openbao")]
NAMES = ["meshca-vault-one", "meshca-vault-two"]
RIGHTS = (
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": NAMES, "verbs": ["get", "update"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
)


@dataclass(frozen=True)
class Rig:
    """Servers of one account below one mount.

    Attributes:
        cluster: that they are in.
        account: of all.
        upstream: of the configuration, with another Secret for each.
        token: of a workload.
        root: PEM.
    """

    cluster: TestCluster
    account: Account
    upstream: dict[str, Any]
    token: str
    root: str

    async def signer(self, folder: Path, secret: str) -> str:
        """What signs for a server that starts with an empty data directory, and is killed then."""
        upstream = {**self.upstream, "custody_secret": secret}
        kubernetes = {"kubeconfig": str(self.account.kubeconfig)}
        with serving_cluster(folder, kubernetes, upstream=upstream) as server:
            (folder / "root.pem").write_text(self.root)
            issued = await server.create(self.token)
            server.stop(signal.SIGKILL)
        return issued.answer.cert_chain[1]

    async def held(self, secret: str) -> dict[str, bytes]:
        """What a Secret holds."""
        path = f"/api/v1/namespaces/{self.account.namespace}/secrets/{secret}"
        data = (await self.cluster.api.get(path))["data"]
        return {name: base64.b64decode(text) for name, text in data.items()}


def on_disk(folder: Path) -> list[Path]:
    """What custody has left on a disk."""
    return list(folder.rglob("data/vault"))


@pytest.fixture
async def rig(cluster: TestCluster, openbao: OpenBao, tmp_path: Path) -> Rig:
    """With a mount and a namespace of its own."""
    mount, namespace = await new_mount(openbao), await cluster.namespace()
    account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES, rules={namespace: RIGHTS})
    upstream = vault_config(openbao, mount, tmp_path, custody="secret")
    return Rig(
        cluster=cluster,
        account=account,
        upstream=upstream.model_dump(mode="json", exclude_none=True),
        token=await cluster.token(namespace, "web", pod=await cluster.pod(namespace)),
        root=mount.root,
    )


async def test_a_replica_that_was_killed_finds_its_own(rig: Rig, tmp_path: Path) -> None:
    """By its Secret alone: its data directory is empty, and Vault signs no second; another replica has another."""
    first = await rig.signer(tmp_path / "one", NAMES[0])
    other = await rig.signer(tmp_path / "two", NAMES[1])
    again = await rig.signer(tmp_path / "one-again", NAMES[0])
    assert again == first != other
    assert on_disk(tmp_path) == []


async def test_sealed(rig: Rig, tmp_path: Path) -> None:
    """Who reads the Secret reads no key; without the seal's own key it is not found, and another is signed."""
    seals = [tmp_path / "seal", tmp_path / "another-seal"]
    for seal in seals:
        seal.touch(0o600)
        seal.write_bytes(base64.b64encode(os.urandom(32)))
    rig.upstream["custody_seal_file"] = str(seals[0])
    first = await rig.signer(tmp_path / "one", NAMES[0])
    assert await rig.signer(tmp_path / "one-again", NAMES[0]) == first
    held = await rig.held(NAMES[0])
    assert len(held) == 2
    assert not any(b"PRIVATE" in contents or b"CERTIFICATE" in contents for contents in held.values())
    rig.upstream["custody_seal_file"] = str(seals[1])
    assert await rig.signer(tmp_path / "one-unsealed", NAMES[0]) != first
