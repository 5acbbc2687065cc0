"""A TLS Secret of ours in a real cluster: compare-and-swap, and never over somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import ConfigError
from meshca.kube.api import Api, Conflict, Forbidden
from meshca.kube.connection import connect
from meshca.kube.tls_secret import TlsMaterial, TlsSecret
from meshca.secret import Secret
from tests.e2e.kube.cluster import TestCluster
from tests.e2e.kube.publishing import INSTALLATION, free

pytestmark = pytest.mark.real("kubernetes")
NAME = "istiod-tls"
MATERIAL = TlsMaterial(chain="a chain", key=Secret("a key"), roots="some roots")


def secret(api: Api, namespace: str, installation: str = INSTALLATION) -> TlsSecret:
    """The Secret as an installation of meshca sees it."""
    return TlsSecret(api, namespace, NAME, installation, free)


def path(namespace: str) -> str:
    """Of the Secret."""
    return f"/api/v1/namespaces/{namespace}/secrets/{NAME}"


async def test_written_and_read_back(cluster: TestCluster) -> None:
    """Made, then replaced; others' labels stay."""
    ours = secret(cluster.api, namespace := await cluster.namespace())
    assert await ours.read() is None
    await ours.write(MATERIAL)
    assert await ours.read() == MATERIAL
    await cluster.api.merge(path(namespace), {"metadata": {"labels": {"a": "b"}}})
    await ours.read()
    await ours.write(TlsMaterial(chain="another", key=Secret("other"), roots="more"))
    made = await cluster.api.get(path(namespace))
    assert made["type"] == "kubernetes.io/tls"
    assert made["metadata"]["labels"] == {"a": "b", "app.kubernetes.io/managed-by": "meshca"}


async def test_two_writers(cluster: TestCluster) -> None:
    """Of two that read the same state one writes, and the other is told; the same for two that make it."""
    namespace = await cluster.namespace()
    one, two = secret(cluster.api, namespace), secret(cluster.api, namespace)
    for chain in ("one", "two"):
        await one.read()
        await two.read()
        await one.write(TlsMaterial(chain=chain, key=Secret("a key"), roots=""))
        with pytest.raises(Conflict):
            await two.write(MATERIAL)


async def test_somebody_elses(cluster: TestCluster) -> None:
    """A Secret that we did not make is refused, until its owner hands it over."""
    namespace = await cluster.namespace()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": NAME},
        "stringData": {"tls.crt": "x", "tls.key": "y"},
    }
    await cluster.api.create(path(namespace).rpartition("/")[0], body)
    with pytest.raises(ConfigError, match=r"made by somebody else and is left alone; delete it, or .*adopt=true"):
        await secret(cluster.api, namespace).read()
    await cluster.api.merge(path(namespace), {"metadata": {"annotations": {"meshca.io/adopt": "true"}}})
    ours = secret(cluster.api, namespace)
    await ours.read()
    await ours.write(MATERIAL)
    assert await ours.read() == MATERIAL


async def test_another_installations(cluster: TestCluster) -> None:
    """That of another meshca is somebody else's too, and the other is named."""
    namespace = await cluster.namespace()
    theirs = secret(cluster.api, namespace, "other/meshca-leader")
    await theirs.read()
    await theirs.write(MATERIAL)
    with pytest.raises(ConfigError, match=r"another meshca \(other/meshca-leader\)"):
        await secret(cluster.api, namespace).read()


async def test_another_type(cluster: TestCluster) -> None:
    """A Secret of another type cannot become one of ours, even when it is handed over."""
    namespace = await cluster.namespace()
    metadata = {"name": NAME, "annotations": {"meshca.io/adopt": "true"}}
    await cluster.api.create(
        path(namespace).rpartition("/")[0], {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    )
    with pytest.raises(ConfigError, match="has the type Opaque, which cannot be changed; delete it"):
        await secret(cluster.api, namespace).read()


@pytest.mark.parametrize("verb", ["get", "create", "update"])
async def test_missing_permission(cluster: TestCluster, tmp_path: Path, verb: str) -> None:
    """The one Secret by its name is enough (making it cannot be limited so); a missing verb is named."""
    namespace = await cluster.namespace()
    named = [one for one in ("get", "update") if one != verb]
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": named}]
    if verb != "create":
        rules.append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]})
    account = await cluster.account(tmp_path, namespace, verb, rules={namespace: rules})

    async def use() -> None:
        async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api:
            ours = secret(api, namespace)
            for _ in range(2):
                await ours.read()
                await ours.write(MATERIAL)

    with pytest.raises(Forbidden, match=f"{verb} secrets in {namespace}: forbidden; grant"):
        await use()
