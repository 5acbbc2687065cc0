"""The chart: rendered by the real Helm, and checked against eight versions of Kubernetes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from meshca import metrics
from meshca.config.server import ServerConfig
from tests.e2e.kube.chart import CHART, only, rendered, run_helm
from tests.e2e.kube.chart_values import CHOICES, EVERYTHING, TOKEN, VAULT

pytestmark = pytest.mark.real("kubernetes")
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
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
