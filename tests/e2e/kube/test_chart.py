"""The chart: rendered by the real Helm, checked against eight versions of Kubernetes and by a real server."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import kubernetes_validate
import pytest
import yaml

from meshca import durable, metrics
from meshca.app.doctor import Order, findings
from meshca.config.server import ServerConfig
from meshca.config.upstream import UpstreamConfig
from meshca.config.vault import VaultConfig
from meshca.doctor.finding import Finding
from meshca.doctor.mesh import Place
from meshca.doctor.needed import needed
from meshca.doctor.permission import Permission
from meshca.errors import NotFound
from tests.e2e.kube.chart import CHART, install, only, pod_of, rendered, run_helm, workload
from tests.e2e.kube.cluster import TestCluster, until
from tests.e2e.kube.rotating import rotate
from tests.e2e.kube.serve import serving_cluster
from tests.real.dev_server import Server

pytestmark = pytest.mark.real("kubernetes")
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
EVERYTHING: dict[str, Any] = {
    "servingNames": ["ca.example.org"],
    "admissionRules": "rules: []\n",
    "policies": {"a.yaml": "# none\n"},
    "rootConfigMap": {"namespaces": ["shop", "pay"]},
    "clusterTrustBundle": {"enabled": True},
    "istiodCertificate": {"enabled": True},
    "doctor": {"enabled": True, "revision": "canary", "ztunnelNamespace": "kube-system"},
    "trustedNodeAccounts": ["istio-system/ztunnel"],
    "remoteClusters": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "podMonitor": {"enabled": True},
    "alerts": {"enabled": True},
    "image": {"digest": "sha256:" + "a" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "system-cluster-critical",
    "tolerations": [{"operator": "Exists"}],
    "nodeSelector": {"a": "b"},
    "podLabels": {"c": "d"},
    "podAnnotations": {"e": "f"},
}
ONE_STORE: dict[str, Any] = {"replicas": 1, "persistence": {"existingClaim": "data"}}
VAULT: dict[str, Any] = {"address": "https://vault.example.org:8200", "roots": {"configMap": "mesh-roots"}}
OWN_SECRETS: dict[str, Any] = {"kind": "vault", "vault": {**VAULT, "custody": "secret"}}
TOKEN: dict[str, Any] = {"module": "/opt/hsm/pkcs11.so", "token": "meshca", "pin_file": "/run/meshca-private/pin"}
IN_TOKEN: dict[str, Any] = {
    "upstream": {"kind": "vault", "vault": {**VAULT, "custody": "pkcs11", "config": {"custody_token": TOKEN}}},
    "privateFiles": {"secret": {"secretName": "hsm-pin"}},
    "extraVolumes": [{"name": "hsm", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "hsm", "mountPath": "/opt/hsm"}],
    "extraEnv": [{"name": "HSM_CONF", "value": "/opt/hsm/conf"}],
}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "files": {"upstream": {"kind": "files"}, **ONE_STORE},
    "read": {"upstream": {"create": False}},
    "begin": {"upstream": {"create": True, "names": ["ca"]}},
    "rotate": {"upstream": {"create": False, "rotate": True}, **ONE_STORE},
    "vault": {"upstream": {"kind": "vault", "vault": {**VAULT, "ca": {"configMap": "vault-ca"}}}},
    "vault-secrets": {"replicas": 3, "upstream": OWN_SECRETS},
    "vault-token": IN_TOKEN,
    "nothing": {"rootConfigMap": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
}
# What is on in an installation that serves as Istio's CA.
INSTALLED: dict[str, Any] = {"trustedNodeAccounts": ["istio-system/ztunnel"]}
RULES_OF_THE_CHART = ["tokenreviews", "pods", "namespaces", "configmaps", "leases", "secrets"]
CUSTOM = {"PodMonitor", "PrometheusRule"}  # objects of the Prometheus operator; no schema of Kubernetes' own


def test_lint() -> None:
    """Helm itself finds nothing."""
    done = run_helm("lint", "--strict", str(CHART), values=EVERYTHING)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("version", VERSIONS)
def test_schema(choice: str, version: str) -> None:
    """Every object is one that this version of Kubernetes knows, to the last field."""
    for each in rendered(**CHOICES[choice]):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"replicas": 0}, "replicas"),
        ({"upstream": {"kind": "magic"}}, "kind"),
        ({"rootConfigMap": {"namespaces": ["Shop"]}}, "namespaces"),
        ({"policies": {"../x.yaml": ""}}, "../x.yaml"),
        ({"trustedNodeAccounts": ["ztunnel"]}, "trustedNodeAccounts"),
        ({"replicas": 2, "persistence": {"existingClaim": "data"}}, "needs replicas: 1"),
        ({"upstream": {"rotate": True}}, "upstream.rotate needs one store of all replicas"),
        ({"upstream": {"rotate": True}, "replicas": 1}, "upstream.rotate needs one store of all replicas"),
        ({"upstream": {"rotate": True}, "config": {"ledger": {"url": "sqlite:////x"}}}, "needs one store"),
        ({"upstream": {"kind": "vault"}}, "upstream.vault.address is needed"),
        ({"upstream": {"kind": "vault", "vault": {"address": "http://vault"}}}, "address"),
        (
            {"upstream": {"kind": "vault", "vault": {"address": VAULT["address"]}}},
            "upstream.vault.roots.configMap is needed",
        ),
        ({"upstream": {"kind": "vault", "vault": {**VAULT, "custody": "hsm"}}}, "custody"),
        (
            {"upstream": {"kind": "vault", "vault": {**VAULT, "custody": "pkcs11"}}},
            "upstream.vault.config.custody_token is needed",
        ),
        (
            {
                "upstream": {
                    "kind": "vault",
                    "vault": {
                        **VAULT,
                        "custody": "pkcs11",
                        "config": {"custody_token": {**TOKEN, "key_label": "one"}},
                    },
                }
            },
            "replicas with one label destroy each other's keys",
        ),
        ({"extraVolumes": [{"emptyDir": {}}]}, "extraVolumes"),
        ({"extraVolumeMounts": [{"name": "hsm"}]}, "extraVolumeMounts"),
        ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
        (
            {"upstream": {"kind": "vault", "vault": {**VAULT, "config": {"custody_secret": "one"}}}},
            "upstream.vault.config.custody_secret is a value of the chart",
        ),
        (
            {"upstream": {"kind": "vault", "vault": {**VAULT, "config": {"roots": {"accept": "any"}}}}},
            "upstream.vault.config.roots is a value of the chart",
        ),
        ({"config": {"upstream": {"names": ["my-ca"]}}}, "config.upstream has a value of the chart"),
        ({"config": {"kubernetes": {"lease": "other"}}}, "config.kubernetes.lease has a value of the chart"),
    ],
)
def test_bad_values(values: dict[str, Any], words: str) -> None:
    """A value that is wrong or unknown is refused by its name."""
    done = run_helm("template", "meshca", str(CHART), values=values)
    assert done.returncode != 0
    assert words in done.stderr


def test_one_store_of_all_replicas() -> None:
    """Several replicas may rotate a root that they share when they share what is kept of it as well."""
    objects = rendered(upstream={"rotate": True}, config={"ledger": {"url": "postgresql+psycopg://db/meshca"}})
    assert only(objects, "Deployment")["spec"]["replicas"] == 2


@pytest.mark.parametrize("choice", CHOICES)
def test_configuration(choice: str) -> None:
    """What the chart writes is a configuration that the server takes."""
    text = only(rendered(**CHOICES[choice]), "ConfigMap", "meshca")["data"]["meshca.yaml"]
    config = ServerConfig.model_validate(yaml.safe_load(text))
    assert config.kubernetes is not None
    assert config.kubernetes.namespace == "meshca-system"
    assert "meshca.meshca-system.svc" in config.serving.names


def test_own_configuration_wins() -> None:
    """`config` is merged over what the chart writes."""
    objects = rendered(config={"svid": {"default_lifetime": "1h"}, "listen": {"token": "0.0.0.0:443"}})
    tree = yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    assert tree["svid"] == {"default_lifetime": "1h"}
    assert tree["listen"] == {"token": "0.0.0.0:443", "http": "0.0.0.0:15014"}


def test_texts_stay_texts() -> None:
    """Names that look like numbers, labels that the chart has, indented rules: rendered as what they are."""
    objects = rendered(
        rootConfigMap={"name": "123", "namespaces": ["456"]},
        podLabels={"app.kubernetes.io/name": "other", "team": "a"},
        podAnnotations={"sidecar.istio.io/inject": "true"},
        admissionRules="  rules: []\n",
    )
    role = only(objects, "Role", "meshca-roots")
    assert (role["metadata"]["namespace"], role["rules"][0]["resourceNames"]) == ("456", ["123"])
    metadata = only(objects, "Deployment")["spec"]["template"]["metadata"]
    assert (metadata["labels"]["app.kubernetes.io/name"], metadata["labels"]["team"]) == ("meshca", "a")
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
    assert only(objects, "ConfigMap", "meshca")["data"]["rules.yaml"] == "  rules: []\n"


def test_a_claim_can_be_written() -> None:
    """A volume of its own gets a group that the server is in; the cluster may choose one instead."""
    pod = only(rendered(**CHOICES["files"]), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 65532
    chosen: dict[str, Any] = {"replicas": 1, "persistence": {"existingClaim": "data", "fsGroup": 0}}
    pod = only(rendered(**chosen), "Deployment")["spec"]["template"]["spec"]
    assert "fsGroup" not in pod["securityContext"]


def test_alerts_ask_for_what_is_measured() -> None:
    """Every metric and every value of a label in the alerts is one that the server has."""
    [rules] = [each for each in rendered(**EVERYTHING) if each["kind"] == "PrometheusRule"]
    expressions = " ".join(rule["expr"] for rule in rules["spec"]["groups"][0]["rules"])
    known = Path(metrics.__file__).read_text()
    for name in set(re.findall(r"meshca_\w+", expressions)):
        assert f'"{name}"' in known, name
    for value in re.findall(r'=~?"([^"]*)"', expressions):
        assert all(word in known for word in value.split("|")), value


@pytest.mark.parametrize("choice", CHOICES)
def test_rights_are_those_that_are_needed(choice: str) -> None:
    """What the Roles give is exactly what the doctor's table says that this configuration needs."""
    values: dict[str, Any] = {**CHOICES[choice], "doctor": {"enabled": False}}
    objects = rendered(**values)
    text = only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"]
    config = ServerConfig.model_validate(yaml.safe_load(text))
    assert config.kubernetes is not None
    asked = {
        each
        for upstream in _of_each_replica(config.upstream, values.get("replicas", 2))
        for each in needed(config.model_copy(update={"upstream": upstream}), config.kubernetes, "meshca-system")
    }
    theirs = {Right.of(each) for each in asked if each.resource and not _everybodys(each)}
    assert set(rights(objects)) == theirs


def _of_each_replica(upstream: UpstreamConfig, replicas: int) -> list[UpstreamConfig]:
    """As each pod has it: the name of its Secret is a variable there."""
    if not isinstance(upstream, VaultConfig):
        return [upstream]
    names = (f"meshca-vault-meshca-{number}" for number in range(replicas))
    return [upstream.model_copy(update={"custody_secret": name}) for name in names]


def test_vault() -> None:
    """The server finds what the pod mounts: a token for Vault alone, the roots, the CA; more keys are its own."""
    ca = {"configMap": "vault-ca", "key": "vault.pem"}
    vault = {**VAULT, "audience": "https://vault", "ca": ca, "config": {"timeout": "5s"}}
    objects = rendered(upstream={"kind": "vault", "vault": vault})
    config = ServerConfig.model_validate(
        yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    )
    upstream = config.upstream
    assert isinstance(upstream, VaultConfig)
    assert (upstream.custody, upstream.timeout) == ("file", timedelta(seconds=5))
    spec = workload(objects)["spec"]["template"]["spec"]
    places = {Path(each["mountPath"]): each["name"] for each in spec["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert upstream.login.kubernetes is not None
    assert upstream.roots.file is not None
    assert upstream.ca_file is not None
    token = volumes[places[upstream.login.kubernetes.token_file.parent]]["projected"]["sources"]
    assert token == [
        {"serviceAccountToken": {"path": "token", "audience": "https://vault", "expirationSeconds": 600}}
    ]
    assert volumes[places[upstream.roots.file.parent]]["configMap"] == {"name": "mesh-roots"}
    assert volumes[places[upstream.ca_file.parent]]["configMap"] == {"name": "vault-ca"}
    assert (upstream.roots.file.name, upstream.ca_file.name) == ("roots.pem", "vault.pem")


def test_a_secret_of_each_replica() -> None:
    """Pods keep their names, and each gives its own to its Secret; otherwise nothing needs a StatefulSet."""
    made = workload(rendered(**CHOICES["vault-secrets"]))
    assert made["kind"] == "StatefulSet"
    [container] = made["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MESHCA__UPSTREAM__CUSTODY_SECRET", "value": "meshca-vault-$(POD)"},
    ]
    others = CHOICES.keys() - {"vault-secrets", "vault-token"}
    assert {workload(rendered(**CHOICES[one]))["kind"] for one in others} == {"Deployment"}


def test_a_token_of_all_replicas() -> None:
    """Pods keep their names, which are those of their keys; library, its configuration and the PIN are there."""
    objects = rendered(**IN_TOKEN)
    tree = yaml.safe_load(only(objects, "ConfigMap", "meshca")["data"]["meshca.yaml"])
    assert tree["upstream"]["custody_token"] == TOKEN
    made = workload(objects)
    assert made["kind"] == "StatefulSet"
    [container] = made["spec"]["template"]["spec"]["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert (mounts["/opt/hsm"], mounts["/run/meshca-private"]) == ("hsm", "private-files")
    assert container["env"] == IN_TOKEN["extraEnv"]


def test_private_files(tmp_path: Path) -> None:
    """Files of a volume that all in the pod may read become such that the server takes; folders are left out."""
    objects = rendered(privateFiles={"secret": {"secretName": "pin"}})
    spec = workload(objects)["spec"]["template"]["spec"]
    [before] = spec["initContainers"]
    given, private = tmp_path / "given", tmp_path / "private"
    private.mkdir()
    (given / "..data").mkdir(parents=True)
    (given / "..data/pin").write_text("1234")
    (given / "pin").symlink_to("..data/pin")  # as the kubelet has it
    (given / "..data/more").mkdir()  # an item whose path is more/pin
    (given / "..data/more/pin").write_text("5678")
    (given / "more").symlink_to("..data/more")
    places = {each["name"]: each["mountPath"] for each in before["volumeMounts"]}
    text = before["command"][-1].replace(places["given-files"], str(given))
    text = text.replace(places["private-files"], str(private))
    command = [*before["command"][:-1], text]
    subprocess.run(command, check=True)
    assert (durable.read_private(private / "pin"), len(list(private.iterdir()))) == (b"1234", 1)
    private.rename(tmp_path / "gone")
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0  # no start
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert volumes["given-files"] == {"name": "given-files", "secret": {"secretName": "pin"}}


class Right(NamedTuple):
    """A verb on a resource, perhaps of one name, perhaps in one namespace."""

    verb: str
    resource: str
    group: str
    namespace: str
    name: str

    @classmethod
    def of(cls, permission: Permission) -> Right:
        """As the doctor's table has it."""
        return cls(permission.verb, permission.resource, permission.group, permission.namespace, permission.name)


def _everybodys(permission: Permission) -> bool:
    """Every service account may read trust bundles (KEP-3257)."""
    return permission.resource == "clustertrustbundles" and permission.verb in {"get", "list", "watch"}


def rights(objects: list[dict[str, Any]]) -> Iterator[Right]:
    """Everything that the Roles give."""
    for role in (each for each in objects if each["kind"] in {"Role", "ClusterRole"}):
        for rule in role["rules"] or ():
            for group, resource, verb, name in itertools.product(
                rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
            ):
                yield Right(verb, resource, group, role["metadata"].get("namespace", ""), name)


def test_rights_end_with_their_switch() -> None:
    """What is off needs no right; no Secret can be read beyond our own namespace and istiod's."""
    roles = [each for each in rendered(**CHOICES["nothing"]) if each["kind"] == "ClusterRole"]
    [cluster] = [{tuple(rule["resources"]) for rule in each["rules"]} for each in roles]
    assert cluster == {("tokenreviews",), ("pods",)}
    for choice in CHOICES.values():
        for role in (each for each in rendered(**choice) if each["kind"] == "ClusterRole"):
            assert not any("secrets" in rule["resources"] for rule in role["rules"])


def test_listed_namespaces_need_no_right_everywhere() -> None:
    """With a list the ConfigMap may be written there and nowhere else."""
    objects = rendered(rootConfigMap={"namespaces": ["shop"]})
    assert not any("configmaps" in rule["resources"] for rule in only(objects, "ClusterRole")["rules"])
    role = only(objects, "Role", "meshca-roots")
    assert role["metadata"]["namespace"] == "shop"


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
