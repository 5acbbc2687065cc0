"""A cluster made like an installation of Istio that has moved to meshca, without any Istio in it.

The objects are those of Istio's charts as far as they are read: Deployment `istiod`, ConfigMaps `istio` and
`istio-sidecar-injector`, DaemonSet `ztunnel`, the ConfigMaps of roots, the Secret `istiod-tls`. A test plants one
fault by changing one of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshca.app.doctor import Order, findings
from meshca.doctor.address import Address
from meshca.doctor.finding import Finding
from meshca.doctor.mesh import Place
from meshca.kube.api import Tree
from tests.e2e.kube.cluster import Account, TestCluster
from tests.fakes.pki import Ca, ec_key, make_ca, pem_of
from tests.real.dev_server import Server

CA_NAME: Final = "meshca.test.svc"
MAPS: Final = "istio-ca-root-cert"
NOBODY: Final = "meshca-nobody.test.svc"
Rule = Mapping[str, Sequence[str]]


def rule(verbs: str, resources: str, group: str = "", name: str = "") -> Rule:
    """One rule of a Role."""
    only = {"resourceNames": [name]} if name else {}
    return {"apiGroups": [group], "resources": [resources], "verbs": verbs.split(), **only}


def root(subject: str) -> Ca:
    """A root that is valid today."""
    now = datetime.now(UTC).replace(microsecond=0)
    return make_ca(subject, begin=now - timedelta(days=1), end=now + timedelta(days=30))


def serving(ca: Ca, name: str, *, end: timedelta = timedelta(days=1)) -> Mapping[str, bytes]:
    """A certificate for a name, as a Secret of type kubernetes.io/tls holds it."""
    key, now = ec_key(), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
    )
    leaf = builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return {"tls.crt": leaf, "tls.key": pem_of(key).encode(), "ca.crt": ca.pem.encode()}


@dataclass(kw_only=True)
class IstioLike:
    """The installation; a test changes a field before `install`, or an object after it.

    Attributes:
        cluster: where.
        folder: for files.
        server: the running CA.
        ca: its root, with the key.
        namespace: of istiod, ztunnel and meshca.
        shop: of workloads.
        without: (verb, resource) or (verb, `resource name`) that the account shall not have.
        account: of meshca and its doctor, once installed.
        bound: whether its token is bound to a pod.
        everywhere: whether it may write roots into all namespaces.
        by_meshca: whether roots and istiod's certificate are left to be written by a running server.
    """

    cluster: TestCluster
    folder: Path
    server: Server | None
    ca: Ca
    namespace: str
    shop: str
    without: frozenset[tuple[str, str]] = frozenset()
    account: Account | None = None
    bound: bool = True
    everywhere: bool = False
    by_meshca: bool = False

    async def install(self) -> None:
        """Everything as it should be."""
        api, istio = self.cluster.api, f"/namespaces/{self.namespace}"
        if not self.by_meshca:
            for namespace in (self.namespace, self.shop):
                await self.roots(namespace, self.ca.pem)
            await self.secret(serving(self.ca, f"istiod.{self.namespace}.svc"))
        await self.config_map(
            "istio", "mesh", yaml.safe_dump({"trustDomain": "cluster.local", "rootNamespace": self.namespace})
        )
        await self.injector()
        await self.istiod("false")
        await api.create(f"/apis/apps/v1{istio}/daemonsets", self.ztunnel())
        self.account = await self.cluster.account(
            self.folder, self.namespace, "meshca", cluster_rules=self.cluster_rules(), rules=self.rules()
        )
        if self.bound:
            pod = await self.cluster.pod(self.namespace, "meshca")
            self.account.token_file.write_text(
                await self.cluster.token(self.namespace, "meshca", pod=pod, audiences=())
            )
        self.write_config()

    def write_config(self, **kubernetes: Any) -> None:
        """meshca.yaml, as the chart would write it."""
        section = self.section() | kubernetes
        tree = {"serving": {"names": [CA_NAME, "localhost"]}, "kubernetes": section}
        (self.folder / "meshca.yaml").write_text(yaml.safe_dump(tree))

    def section(self) -> dict[str, Any]:
        """The section `kubernetes`."""
        assert self.account is not None
        return {
            "kubeconfig": str(self.account.kubeconfig),
            "trusted_node_accounts": [f"{self.namespace}/ztunnel"],
            "root_config_map": {"enabled": True, "namespaces": [self.namespace, self.shop]},
            "istiod_certificate": {
                "enabled": True,
                "namespace": self.namespace,
                "names": [f"istiod.{self.namespace}.svc"],
            },
        }

    def cluster_rules(self) -> list[Rule]:
        """Of the whole cluster."""
        roots = [rule("list watch", "namespaces"), rule("get list watch create patch", "configmaps", name=MAPS)]
        granted = [rule("create", "tokenreviews", "authentication.k8s.io"), rule("get list watch", "pods")]
        return self._left([("", one) for one in (*granted, *(roots if self.everywhere else ()))]).get("", [])

    def rules(self) -> dict[str, list[Rule]]:
        """Of namespaces: what the chart gives, the doctor's own rights included."""
        here = self.namespace
        roots = [
            (place, rule("get list watch create patch", "configmaps", name=MAPS)) for place in (here, self.shop)
        ]
        return self._left(
            [
                *roots,
                (here, rule("get update create", "leases", "coordination.k8s.io")),
                (here, rule("get update", "secrets", name="istiod-tls")),
                (here, rule("create", "secrets")),
                (here, rule("get", "deployments", "apps", "istiod")),
                (here, rule("get", "daemonsets", "apps", "ztunnel")),
                (here, rule("get", "configmaps", name="istio")),
                (here, rule("get", "configmaps", name="istio-sidecar-injector")),
                (here, rule("create", "serviceaccounts/token", name="meshca")),
            ]
        )

    def _left(self, rules: list[tuple[str, Rule]]) -> dict[str, list[Rule]]:
        """Without the verbs that a test takes away: (verb, resource), and one (verb, `name`) for a named one."""
        left: dict[str, list[Rule]] = {}
        for place, granted in rules:
            resource, names = granted["resources"][0], granted.get("resourceNames") or [""]
            verbs = [
                verb
                for verb in granted["verbs"]
                if not {(verb, resource), (verb, f"{resource} {names[0]}")} & self.without
            ]
            if verbs:
                left.setdefault(place, []).append({**granted, "verbs": verbs})
        return left

    async def roots(self, namespace: str, pem: str, manager: str = "meshca") -> None:
        """The ConfigMap of roots."""
        body = config_map(MAPS, {"root-cert.pem": pem})
        path = f"/api/v1/namespaces/{namespace}/configmaps/{MAPS}"
        await self.cluster.api.apply(path, body, manager=manager, force=True)

    async def config_map(self, name: str, key: str, text: str) -> None:
        """A ConfigMap of Istio's."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"
        await self.cluster.api.apply(path, config_map(name, {key: text}), manager="helm", force=True)

    async def injector(
        self, address: str = f"{CA_NAME}:15012", audience: str = "istio-ca", cluster: str = ""
    ) -> None:
        """The injector's values."""
        values = {
            "global": {
                "caAddress": address,
                "sds": {"token": {"aud": audience}},
                "multiCluster": {"clusterName": cluster},
            }
        }
        await self.config_map("istio-sidecar-injector", "values", json.dumps(values))

    async def istiod(self, ca_server: str | None) -> None:
        """The Deployment."""
        environment = [{"name": "PILOT_CERT_PROVIDER", "value": "istiod"}]
        if ca_server is not None:
            environment.append({"name": "ENABLE_CA_SERVER", "value": ca_server})
        body = workload("Deployment", "istiod", "istiod", environment)
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/istiod"
        await self.cluster.api.apply(path, body, manager="helm", force=True)

    def ztunnel(self) -> Tree:
        """The DaemonSet."""
        return workload("DaemonSet", "ztunnel", "ztunnel", [{"name": "CA_ADDRESS", "value": f"{CA_NAME}:15012"}])

    async def secret(self, contents: Mapping[str, bytes]) -> None:
        """istiod-tls."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "istiod-tls"},
            "type": "kubernetes.io/tls",
            "data": {key: base64.b64encode(value).decode() for key, value in contents.items()},
        }
        path = f"/api/v1/namespaces/{self.namespace}/secrets/istiod-tls"
        await self.cluster.api.apply(path, body, manager="tests", force=True)

    async def examined(self, **order: Any) -> dict[str, Finding]:
        """What the doctor finds."""
        assert self.server is not None
        file = self.folder / "meshca.yaml"
        listen = {"admin": self.server.endpoint("endpoint-admin")}
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "listen": listen}))
        port = Address.parse(self.server.endpoint())
        asked = Order(
            **{
                "config": file,
                "place": Place(namespace=self.namespace, ztunnel=self.namespace),
                "ca_address": None,
                "endpoint": port,
                "seconds": 10.0,
                **order,
            }
        )
        found: AsyncIterator[Finding] = findings(asked, {})
        return {finding.name: finding async for finding in found}


def config_map(name: str, data: Mapping[str, str]) -> Tree:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(data)}


def workload(kind: str, name: str, account: str, environment: Sequence[Mapping[str, str]]) -> Tree:
    """A Deployment or DaemonSet with one container and Istio's token."""
    token = {"serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}}
    pod = {
        "serviceAccountName": account,
        "containers": [{"name": "discovery", "image": "none", "env": list(environment)}],
        "volumes": [{"name": "istio-token", "projected": {"sources": [token]}}],
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
