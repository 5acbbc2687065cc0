"""The chart on a real API server: its pod is admitted, and a server with its Roles does all its work."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from meshca.app.doctor import Order, findings
from meshca.doctor.finding import Finding
from meshca.doctor.mesh import Place
from meshca.errors import NotFound
from tests.e2e.kube.chart import install, only, pod_of, rendered, workload
from tests.e2e.kube.chart_values import CHOICES, ONE_STORE
from tests.e2e.kube.cluster import TestCluster, until
from tests.e2e.kube.rotating import rotate
from tests.e2e.kube.serve import serving_cluster
from tests.real.dev_server import Server

pytestmark = pytest.mark.real("kubernetes")
# What is on in an installation that serves as Istio's CA.
INSTALLED: dict[str, Any] = {"trustedNodeAccounts": ["istio-system/ztunnel"]}
RULES_OF_THE_CHART = ["tokenreviews", "pods", "namespaces", "configmaps", "leases", "secrets"]


@pytest.mark.parametrize("choice", CHOICES)
async def test_pod_security(cluster: TestCluster, choice: str) -> None:
    """The pod is admitted where Kubernetes' strictest Pod Security Standard is enforced."""
    namespace = await cluster.namespace({"pod-security.kubernetes.io/enforce": "restricted"})
    objects = rendered(namespace, **{**CHOICES[choice], "priorityClassName": ""})
    await install(cluster.api, [only(objects, "ServiceAccount")])
    pod = pod_of(workload(objects), "one")
    await cluster.api.create(f"/api/v1/namespaces/{namespace}/pods", pod)


async def test_install(cluster: TestCluster, tmp_path: Path) -> None:
    """With the account's token and the chart's Roles a server does all its work and misses no permission."""
    namespace = await cluster.namespace()
    values = {
        **INSTALLED,
        "rootConfigMap": {"name": f"roots-{namespace}"},
        "istiodCertificate": {"enabled": True, "namespace": namespace},
        "clusterTrustBundle": {"enabled": True, "signer": f"{namespace}.example/workloads"},
    }
    objects = rendered(namespace, **values)
    installed = await install(cluster.api, objects)
    try:
        with serving_chart(cluster, objects, tmp_path, await _own_token(cluster, namespace, tmp_path)) as server:
            secret = await cluster.api.get(f"/api/v1/namespaces/{namespace}/secrets/istio-ca-secret")
            (server.folder / "root.pem").write_bytes(base64.b64decode(secret["data"]["ca-cert.pem"]))
            workloads = await cluster.namespace()
            token = await cluster.token(workloads, "web", pod=await cluster.pod(workloads))
            held = await server.create(token)
            assert held.spiffe_id == f"spiffe://cluster.local/ns/{workloads}/sa/web"
            path = f"/api/v1/namespaces/{workloads}/configmaps/roots-{namespace}"
            await until(lambda: there(cluster, path))
            await until(lambda: there(cluster, f"/api/v1/namespaces/{namespace}/secrets/istiod-tls"))
            bundle = f"/apis/certificates.k8s.io/v1/clustertrustbundles/{namespace}.example:workloads:root-cert"
            await until(lambda: there(cluster, bundle))
            assert "kube_forbidden" not in (server.folder / "log").read_text()
            await cluster.api.delete(bundle)
    finally:
        await _remove(cluster, installed)


async def test_a_root_is_followed(cluster: TestCluster, tmp_path: Path) -> None:
    """With just these rights a root is replaced: by the one in the second Secret, which is empty then."""
    namespace = await cluster.namespace()
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    objects = rendered(
        namespace,
        **INSTALLED,
        rootConfigMap={"name": f"roots-{namespace}"},
        config={"rotation": {"settle": "0s", "published_for": "0s"}},
        upstream={"create": True, "rotate": True},
        **ONE_STORE,
    )
    installed = await install(cluster.api, objects)
    try:
        with serving_chart(cluster, objects, tmp_path, await _own_token(cluster, namespace, tmp_path)) as server:
            before = (await cluster.api.get(f"{secrets}/istio-ca-secret"))["data"]["ca-cert.pem"]
            await rotate(server.folder)

            async def moved() -> bool:
                main = await cluster.api.get(f"{secrets}/istio-ca-secret")
                spare = await cluster.api.get(f"{secrets}/istio-ca-secret-next")
                return main["data"]["ca-cert.pem"] != before and not spare.get("data")

            await until(moved, 60)
            assert "forbidden" not in (server.folder / "log").read_text()
    finally:
        await _remove(cluster, installed)


async def test_roles_of_before(cluster: TestCluster, tmp_path: Path) -> None:
    """With a Role that knows no second Secret no server starts: it says why, and the doctor how to mend it."""
    namespace = await cluster.namespace()
    objects = rendered(
        namespace, rootConfigMap={"name": f"roots-{namespace}"}, upstream={"rotate": True}, **ONE_STORE
    )
    spare = "istio-ca-secret-next"
    for rule in only(objects, "Role", "meshca")["rules"]:
        if spare in rule.get("resourceNames", ()):
            rule["resourceNames"].remove(spare)
    installed = await install(cluster.api, objects)
    try:
        token_file = await _own_token(cluster, namespace, tmp_path)
        with serving_chart(cluster, objects, tmp_path, token_file, ready=False) as server:

            def waits() -> bool:
                said = json.loads(server.http("/readyz")[1]).get("waits_for", "")
                return f"get secrets in {namespace}: forbidden" in said and spare in said

            await until(waits, 30)
        found = await _examined(cluster, objects, tmp_path, token_file, namespace)
        verbs = ("get", "list", "watch", "update")
        assert found["permissions"].verdict == "wrong"
        assert f"lacks {len(verbs)} of " in found["permissions"].found
        for verb, mend in zip(verbs, found["permissions"].mend, strict=True):
            assert mend.startswith(f"{verb} secrets {spare} in {namespace}: ")
            assert f"--verb={verb} --resource=secrets --resource-name={spare} -n {namespace}" in mend
    finally:
        await _remove(cluster, installed)


@pytest.mark.parametrize("missing", RULES_OF_THE_CHART)
async def test_no_rule_too_many(cluster: TestCluster, tmp_path: Path, missing: str) -> None:
    """Without any one of the rules the server says which permission it lacks."""
    namespace = await cluster.namespace()
    values = {**INSTALLED, "rootConfigMap": {"name": f"roots-{namespace}"}}
    objects = rendered(namespace, **values)
    for each in objects:
        if each["kind"] in {"Role", "ClusterRole"}:
            each["rules"] = [rule for rule in each["rules"] if missing not in rule["resources"]]
    installed = await install(cluster.api, objects)
    try:
        token_file = await _own_token(cluster, namespace, tmp_path)
        with serving_chart(cluster, objects, tmp_path, token_file, ready=False) as server:
            token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))

            async def complains() -> bool:
                with contextlib.suppress(NotFound, grpc.aio.AioRpcError, OSError):
                    secret = await cluster.api.get(f"/api/v1/namespaces/{namespace}/secrets/istio-ca-secret")
                    (server.folder / "root.pem").write_bytes(base64.b64decode(secret["data"]["ca-cert.pem"]))
                    await server.create(token)
                return missing in _forbidden(server)

            await until(complains, 30)
    finally:
        await _remove(cluster, installed)


@pytest.mark.parametrize("listed", [False, True], ids=["everywhere", "listed"])
async def test_the_doctor_misses_nothing(cluster: TestCluster, tmp_path: Path, listed: bool) -> None:  # noqa: FBT001 - a column
    """The chart gives every permission that the doctor's table asks for, and the doctor's own."""
    namespace = await cluster.namespace()
    values = {
        "rootConfigMap": {"name": f"roots-{namespace}", "namespaces": [namespace] if listed else []},
        "istiodCertificate": {"enabled": True, "namespace": namespace},
        "clusterTrustBundle": {"enabled": True, "signer": f"{namespace}.example/workloads"},
        "remoteClusters": {"enabled": True},
        "doctor": {"enabled": True, "istioNamespace": namespace},
    }
    objects = rendered(namespace, **values)
    installed = await install(cluster.api, objects)
    try:
        token_file = await _own_token(cluster, namespace, tmp_path)
        found = await _examined(cluster, objects, tmp_path, token_file, namespace)
        assert found["permissions"].verdict == "ok", found["permissions"]
        assert [one for one in found.values() if "not allowed" in one.found] == []
    finally:
        await _remove(cluster, installed)


async def _examined(
    cluster: TestCluster, objects: list[dict[str, Any]], folder: Path, token_file: Path, namespace: str
) -> dict[str, Finding]:
    """What the doctor finds with the chart's configuration and the account's token."""
    tree = yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    tree["kubernetes"]["kubeconfig"] = str(cluster.kubeconfig_of(folder / "kubeconfig", token_file))
    (folder / "meshca.yaml").write_text(yaml.safe_dump(tree))
    place = Place(namespace=namespace, ztunnel=namespace)
    order = Order(config=folder / "meshca.yaml", place=place, ca_address=None, endpoint=None, seconds=10)
    return {one.name: one async for one in findings(order, {})}


async def _remove(cluster: TestCluster, installed: list[str]) -> None:
    """What does not end with its namespace."""
    for path in installed:
        if "/namespaces/" not in path:
            await cluster.api.delete(path)


def _forbidden(server: Server) -> str:
    """Every line that tells of a missing permission."""
    return " ".join(line for line in (server.folder / "log").read_text().splitlines() if "forbidden" in line)


async def there(cluster: TestCluster, path: str) -> bool:
    """Whether an object exists."""
    try:
        await cluster.api.get(path)
    except NotFound:
        return False
    return True


async def _own_token(cluster: TestCluster, namespace: str, folder: Path) -> Path:
    """The token that the kubelet would give the pod."""
    file = folder / "token"
    file.write_text(await cluster.token(namespace, "meshca", audiences=(), seconds=3600))
    return file


@contextlib.contextmanager
def serving_chart(
    cluster: TestCluster, objects: list[dict[str, Any]], folder: Path, token_file: Path, *, ready: bool = True
) -> Iterator[Server]:
    """A server with the chart's configuration and the account's token; only paths and ports are this machine's."""
    tree = yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    file = cluster.kubeconfig_of(folder / "kubeconfig", token_file)
    tree["kubernetes"]["kubeconfig"] = str(file)
    kubernetes = tree.pop("kubernetes")
    own = {key: value for key, value in tree.items() if key not in {"data_dir", "listen"}}
    with serving_cluster(folder / "ca", kubernetes, starting=not ready, **own) as server:
        yield server
