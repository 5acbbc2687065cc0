"""A real API server takes what `meshca inject` prints, where the strictest Pod Security Standard is enforced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from meshca.kube.api import Forbidden
from meshca.sidecar.inject_object import KINDS
from tests.e2e.kube.chart import pod_of
from tests.e2e.kube.cluster import TestCluster
from tests.sidecar.manifests import complete, deployment

pytestmark = pytest.mark.real("kubernetes")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def workload(namespace: str, **changes: Any) -> dict[str, Any]:
    """A Deployment whose own container the standard admits."""
    app = {"name": "app", "image": "app", "securityContext": CONTAINER}
    tree = deployment(securityContext=POD, containers=[app], **changes)
    tree["metadata"]["namespace"] = namespace
    tree["spec"]["selector"] = {"matchLabels": {"app": "web"}}
    tree["spec"]["template"]["metadata"]["labels"] = {"app": "web"}
    return tree


def injected(tree: Mapping[str, Any], *flags: str) -> dict[str, Any]:
    """What the command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "meshca", "inject", *flags],
        input=yaml.safe_dump(dict(tree)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize("sidecars", ["native", "plain"])
async def test_restricted(cluster: TestCluster, sidecars: str) -> None:
    """The pod of an injected Deployment is admitted."""
    namespace = await cluster.namespace(RESTRICTED)
    tree = injected(workload(namespace), "--sidecars", sidecars)
    made = await cluster.api.create(f"/api/v1/namespaces/{namespace}/pods", pod_of(tree, "web-1"))
    names = [each["name"] for key in ("initContainers", "containers") for each in made["spec"].get(key, [])]
    assert sorted(names) == ["app", "meshca-agent", "meshca-envoy"]


async def test_the_standard_is_enforced(cluster: TestCluster) -> None:
    """The test above means something: as root the same pod is refused."""
    namespace = await cluster.namespace(RESTRICTED)
    tree = injected(workload(namespace))
    tree["spec"]["template"]["spec"]["initContainers"][0]["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(Forbidden):
        await cluster.api.create(f"/api/v1/namespaces/{namespace}/pods", pod_of(tree, "web-1"))


@pytest.mark.parametrize(("group", "kind"), KINDS)
async def test_every_kind(cluster: TestCluster, group: str, kind: str) -> None:
    """The server takes every workload, and knows every field of it."""
    namespace = await cluster.namespace()
    begin = f"/apis/{group}/v1" if group else "/api/v1"
    path = f"{begin}/namespaces/{namespace}/{kind.lower()}s?fieldValidation=Strict"
    made = await cluster.api.create(path, injected(complete(group, kind)))
    assert made["kind"] == kind


async def test_an_applied_object_comes_back_unchanged(cluster: TestCluster) -> None:
    """What the server defaulted and added is no reason to update: its object is injected already."""
    namespace = await cluster.namespace(RESTRICTED)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    await cluster.api.apply(path, injected(workload(namespace)), manager="kubectl")
    again = injected(await cluster.api.get(path))
    await cluster.api.apply(path, injected(workload(namespace)), manager="kubectl")
    generation = (await cluster.api.get(path))["metadata"]["generation"]
    again["metadata"].pop("managedFields", None)
    assert (await cluster.api.replace(path, again))["metadata"]["generation"] == generation
