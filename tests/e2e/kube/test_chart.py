"""The chart: rendered by the real Helm, checked against eight versions of Kubernetes and by a real server."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from meshca.config.server import ServerConfig
from tests.e2e.kube.chart import CHART, install, only, pod_of, rendered, run_helm
from tests.e2e.kube.cluster import TestCluster

pytestmark = pytest.mark.real("kubernetes")
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
EVERYTHING: dict[str, Any] = {
    "servingNames": ["ca.example.org"],
    "admissionRules": "rules: []\n",
    "policies": {"a.yaml": "# none\n"},
    "rootConfigMap": {"namespaces": ["shop", "pay"]},
    "clusterTrustBundle": {"enabled": True},
    "istiodCertificate": {"enabled": True},
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
CHOICES = {
    "defaults": {},
    "everything": EVERYTHING,
    "files": {"upstream": {"kind": "files"}, "replicas": 1, "persistence": {"existingClaim": "data"}},
    "nothing": {"rootConfigMap": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
}
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
    ],
)
def test_bad_values(values: dict[str, Any], words: str) -> None:
    """A value that is wrong or unknown is refused by its name."""
    done = run_helm("template", "meshca", str(CHART), values=values)
    assert done.returncode != 0
    assert words in done.stderr


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
    pod = pod_of(only(objects, "Deployment"), "one")
    await cluster.api.create(f"/api/v1/namespaces/{namespace}/pods", pod)


@pytest.mark.parametrize("choice", ["defaults", "nothing"])
async def test_install(cluster: TestCluster, choice: str) -> None:
    """A real server takes every object."""
    namespace = await cluster.namespace()
    paths = await install(cluster.api, rendered(namespace, **CHOICES[choice]))
    for path in paths:
        if "/namespaces/" not in path:
            await cluster.api.delete(path)
