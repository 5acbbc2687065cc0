"""The chart as Helm renders it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from meshca.kube.api import Api, Tree
from tests.e2e.kube.build import helm

CHART: Final = Path(__file__).resolve().parents[3] / "charts" / "meshca"
# kind -> how its path begins, and its plural
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Pod": ("/api/v1", "pods"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
}


def run_helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Helm with these values from standard input; it may touch nothing but the chart."""
    given = ("--values", "-") if values is not None else ()
    return subprocess.run(
        [str(helm()), *arguments, *given],
        input=json.dumps(values) if values is not None else None,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(namespace: str = "meshca-system", **values: Any) -> list[dict[str, Any]]:
    """Every object of a release called `meshca`."""
    done = run_helm("template", "meshca", str(CHART), "--namespace", namespace, values=values)
    assert done.returncode == 0, done.stderr
    return [tree for tree in yaml.safe_load_all(done.stdout) if tree]


def only(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The one object of a kind."""
    [found] = [each for each in objects if each["kind"] == kind and name in {"", each["metadata"]["name"]}]
    return found


async def install(api: Api, objects: list[dict[str, Any]]) -> list[str]:
    """Apply objects as Helm would; their paths."""
    paths = []
    for each in objects:
        begin, plural = KINDS[each["kind"]]
        namespace = each["metadata"].get("namespace")
        place = f"{begin}/namespaces/{namespace}" if namespace else begin
        paths.append(f"{place}/{plural}/{each['metadata']['name']}")
        await api.apply(paths[-1], each, manager="helm")
    return paths


def workload(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """What makes the pods: a Deployment, or a StatefulSet where they must keep their names."""
    [found] = [each for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    return found


def pod_of(made_by: Tree, name: str) -> dict[str, Any]:
    """The pod that a workload would make."""
    template = made_by["spec"]["template"]
    metadata = {"name": name, "namespace": made_by["metadata"]["namespace"], **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
