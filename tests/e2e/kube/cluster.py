"""What a test asks of a cluster: namespaces of its own, pods without kubelets, tokens, accounts with few rights.

async with open_cluster() as cluster:
namespace = await cluster.namespace()
pod = await cluster.pod(namespace, "web")
token = await cluster.token(namespace, "web", pod=pod)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from meshca.config.kubernetes import KubernetesConfig
from meshca.kube.api import Api, Tree
from meshca.kube.connection import connect
from tests.e2e.kube.control_plane import write_kubeconfig

NODE = "node-1"
AUDIENCE = "istio-ca"
SECONDS = 10.0  # a test that waits longer has failed


def kubeconfig() -> Path:
    """Of the administrator of the cluster under test."""
    return Path(os.environ["MESHCA_TEST_KUBECONFIG"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A service account with a kubeconfig of its own.

    Attributes:
        namespace: of the account.
        name: of the account.
        kubeconfig: whose token is read from `token_file`.
        token_file: its token.
    """

    namespace: str
    name: str
    kubeconfig: Path
    token_file: Path


class TestCluster:
    """An administrator's view of the cluster under test.

    Args:
        api: as administrator.
        file: the administrator's kubeconfig.
    """

    __test__ = False

    def __init__(self, api: Api, file: Path) -> None:
        self.api = api
        self._file = file
        self._made: list[str] = []

    async def namespace(self, labels: Mapping[str, str] | None = None) -> str:
        """A new namespace with its default service account; removed after the test."""
        name = f"t-{secrets.token_hex(5)}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        await self.api.create("/api/v1/namespaces", body)
        self._made.append(f"/api/v1/namespaces/{name}")
        await self.service_account(name, "default")  # which the cluster makes too, later
        return name

    async def service_account(self, namespace: str, name: str) -> Tree:
        """A service account; the one that is there already, if any."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        return await self.api.apply(f"{path}/{name}", body, manager="tests", force=True)

    async def node(self, name: str = NODE) -> Tree:
        """A node that no kubelet runs on."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        return await self.api.apply(f"/api/v1/nodes/{name}", body, manager="tests", force=True)

    async def pod(
        self,
        namespace: str,
        account: str = "web",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        node: str = NODE,
        phase: str = "Running",
    ) -> Tree:
        """A pod that nobody runs, on a node, in a phase."""
        await self.service_account(namespace, account)
        await self.node(node)
        name = name or f"{account}-{secrets.token_hex(3)}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {
                "serviceAccountName": account,
                "nodeName": node,
                "containers": [{"name": "app", "image": "none"}],
                "automountServiceAccountToken": False,
            },
        }
        made = await self.api.create(f"/api/v1/namespaces/{namespace}/pods", body)
        return await self.phase(made, phase)

    async def phase(self, pod: Tree, phase: str) -> Tree:
        """The pod in another phase."""
        return await self.api.merge(f"{path_of(pod)}/status", {"status": {"phase": phase}})

    async def delete_pod(self, pod: Tree) -> None:
        """Remove a pod at once."""
        await self.api.delete(f"{path_of(pod)}?gracePeriodSeconds=0")

    async def token(
        self,
        namespace: str,
        account: str,
        *,
        pod: Tree | None = None,
        audiences: Sequence[str] = (AUDIENCE,),
        seconds: int = 3600,
    ) -> str:
        """A token of the TokenRequest API, bound to a pod if one is given."""
        spec: dict[str, Any] = {"audiences": list(audiences), "expirationSeconds": seconds}
        if pod is not None:
            metadata = pod["metadata"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str((await self.api.create(path, body))["status"]["token"])

    async def account(
        self,
        folder: Path,
        namespace: str,
        name: str,
        *,
        cluster_rules: Sequence[Mapping[str, Sequence[str]]] = (),
        rules: Mapping[str, Sequence[Mapping[str, Sequence[str]]]] | None = None,
    ) -> Account:
        """A service account with exactly these RBAC rules, and its kubeconfig.

        Args:
            folder: where the kubeconfig and the token are written.
            namespace: of the account, and of its kubeconfig.
            name: of the account.
            cluster_rules: of a ClusterRole.
            rules: namespace -> rules of a Role there.
        """
        await self.service_account(namespace, name)
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        unique = f"{namespace}-{name}"
        if cluster_rules:
            await self._bind("", "ClusterRole", unique, cluster_rules, subject)
        for place, granted in (rules or {}).items():
            await self._bind(place, "Role", unique, granted, subject)
        token_file = folder / f"{name}.token"
        token_file.write_text(await self.token(namespace, name, audiences=(), seconds=7200))
        file = self.kubeconfig_of(folder / f"{name}.kubeconfig", token_file, namespace)
        return Account(namespace=namespace, name=name, kubeconfig=file, token_file=token_file)

    def kubeconfig_of(self, path: Path, token_file: Path, namespace: str = "") -> Path:
        """A kubeconfig for this cluster that shows the token of a file."""
        context = yaml.safe_load(self._file.read_text())["clusters"][0]["cluster"]
        root = Path(context["certificate-authority"])
        return write_kubeconfig(path, context["server"], root, {"tokenFile": str(token_file)}, namespace)

    def forget(self) -> None:
        """Leave what was made to the end of the cluster."""
        self._made.clear()

    async def clean(self) -> None:
        """Remove what was made, and wait for nothing."""
        for path in reversed(self._made):
            with contextlib.suppress(Exception):
                await self.api.delete(path)

    async def _bind(
        self,
        namespace: str,
        kind: str,
        name: str,
        rules: Sequence[Mapping[str, Sequence[str]]],
        subject: Mapping[str, str],
    ) -> None:
        group = "rbac.authorization.k8s.io"
        place = f"/apis/{group}/v1" + (f"/namespaces/{namespace}" if namespace else "")
        role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "rules": list(rules)}
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [dict(subject)],
        }
        for body, plural in ((role, f"{kind.lower()}s"), (binding, f"{kind.lower()}bindings")):
            path = f"{place}/{plural}/{name}"
            await self.api.apply(path, body, manager="tests", force=True)
            if not namespace:
                self._made.append(path)


def path_of(pod: Tree) -> str:
    """The path of a pod."""
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


@contextlib.asynccontextmanager
async def open_cluster(file: Path | None = None) -> AsyncIterator[TestCluster]:
    """The cluster under test, or that of another kubeconfig; what was made in it is removed afterwards."""
    file = file or kubeconfig()
    config = KubernetesConfig(kubeconfig=file, timeout=timedelta(seconds=10))
    async with connect(config) as api:
        cluster = TestCluster(api, file)
        try:
            yield cluster
        finally:
            await cluster.clean()


async def until(condition: Any, seconds: float = SECONDS) -> None:
    """Return once a condition (a function, or one that gives an awaitable) holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)
