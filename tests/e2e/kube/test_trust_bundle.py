"""The roots as a ClusterTrustBundle of a real cluster."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from meshca.config.kubernetes import KubernetesConfig
from meshca.errors import NotFound
from meshca.kube.connection import connect
from meshca.kube.trust_bundle import TrustBundle, bundle_name
from tests.e2e.kube.cluster import TestCluster, until
from tests.e2e.kube.publishing import FIRST, SECOND, Rule, bundling

pytestmark = pytest.mark.real("kubernetes")
BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"


def new_signer() -> str:
    """A signer that no other test has."""
    return f"t-{secrets.token_hex(4)}.example/workloads"


async def text(cluster: TestCluster, signer: str) -> str:
    """The bundle of a signer."""
    try:
        return str((await cluster.api.get(f"{BUNDLES}/{bundle_name(signer)}"))["spec"]["trustBundle"])
    except NotFound:
        return ""


def problem(bundle: TrustBundle) -> str:
    """Why it is not written."""
    kept = bundle.report()
    return kept.failing[0][1] if kept and kept.failing else ""


def rules(signer: str, *without: str) -> list[Rule]:
    """What is needed, without some verbs; every service account may read bundles, so reading is not among them."""
    bundles = ["create", "patch"]
    named: Rule = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["clustertrustbundles"],
        "resourceNames": [bundle_name(signer)],
        "verbs": [verb for verb in bundles if verb not in without],
    }
    attest: Rule = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["signers"],
        "resourceNames": [signer],
        "verbs": ["attest"],
    }
    return [named] if "attest" in without else [named, attest]


async def test_kept(cluster: TestCluster) -> None:
    """It is made, follows the roots, and is repaired after an edit and a deletion."""
    signer = new_signer()
    path = f"{BUNDLES}/{bundle_name(signer)}"

    async def holds(roots: str) -> bool:
        return await text(cluster, signer) == roots

    async with bundling(cluster.api, signer) as bundle:
        await until(lambda: holds(FIRST))
        assert bundle.version == "v1"
        bundle.want(FIRST + SECOND)
        await until(lambda: holds(FIRST + SECOND), 2)
        await cluster.api.merge(path, {"spec": {"trustBundle": SECOND}})
        await until(lambda: holds(FIRST + SECOND), 2)
        await cluster.api.delete(path)
        await until(lambda: holds(FIRST + SECOND), 2)
    await cluster.api.delete(path)


async def test_smallest_rights(cluster: TestCluster, tmp_path: Path) -> None:
    """The one object by its name, and `attest` for the one signer, are enough."""
    signer = new_signer()
    namespace = await cluster.namespace()
    account = await cluster.account(tmp_path, namespace, "all", cluster_rules=rules(signer))

    async def there() -> bool:
        return await text(cluster, signer) == FIRST

    async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api, bundling(api, signer) as bundle:
        await until(there)
        assert (problem(bundle), bundle.watch_errors()) == ("", ())
    await cluster.api.delete(f"{BUNDLES}/{bundle_name(signer)}")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("attest", "attest signers.certificates.k8s.io named {}: forbidden; grant"),
        ("create", "create clustertrustbundles.certificates.k8s.io: forbidden; grant"),
        ("patch", "patch clustertrustbundles.certificates.k8s.io: forbidden; grant"),
    ],
)
async def test_missing_permission(cluster: TestCluster, tmp_path: Path, verb: str, said: str) -> None:
    """Each one is named."""
    signer = new_signer()
    namespace = await cluster.namespace()
    account = await cluster.account(tmp_path, namespace, verb, cluster_rules=rules(signer, verb))
    async with connect(KubernetesConfig(kubeconfig=account.kubeconfig)) as api, bundling(api, signer) as bundle:
        await until(lambda: said.format(signer) in problem(bundle))
