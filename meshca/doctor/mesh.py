"""What Istio's own objects say: Deployment, mesh configuration, the injector's values, ztunnel's DaemonSet.

Names and keys are those of Istio's charts (istio-discovery and ztunnel). Nothing of them is believed to be there:
what is missing or has another form is `Unseen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import yaml

from meshca.doctor.finding import Unseen
from meshca.doctor.looking import Looking
from meshca.doctor.permission import Permission
from meshca.kube.api import Tree

DEFAULT_CLUSTER: Final = "Kubernetes"  # global.multiCluster.clusterName when it is empty
DEFAULT_AUDIENCE: Final = "istio-ca"
DEFAULT_TRUST_DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where Istio is.

    Attributes:
        namespace: of istiod.
        revision: of istiod; empty for the default one.
        ztunnel: namespace of ztunnel.
    """

    namespace: str = "istio-system"
    revision: str = ""
    ztunnel: str = "istio-system"

    def named(self, name: str) -> str:
        """An object's name in this revision."""
        return f"{name}-{self.revision}" if self.revision else name

    def helm(self, setting: str) -> str:
        """The command that gives istiod's chart another value."""
        return f"helm upgrade istiod istio/istiod -n {self.namespace} --reuse-values --set {setting}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """What the injector writes into every sidecar.

    Attributes:
        ca_address: global.caAddress; empty means istiod.
        audience: of the token.
        cluster: sent as `clusterid`.
    """

    ca_address: str
    audience: str
    cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The mesh configuration.

    Attributes:
        trust_domain: of the mesh.
        ca_address: proxyMetadata's CA_ADDR, which wins over the injector's; empty when there is none.
    """

    trust_domain: str
    ca_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment or a DaemonSet.

    Attributes:
        account: service account of its pods.
        environment: of its containers; None for a value that is kept elsewhere.
        audiences: of the tokens that it mounts.
    """

    account: str
    environment: Mapping[str, str | None]
    audiences: tuple[str, ...]


async def injected(looking: Looking, place: Place) -> Injected:
    """What the injector's values say.

    Raises:
        Unseen: they cannot be read.
    """
    name = place.named("istio-sidecar-injector")
    values = orjson_tree(await _config_map(looking, place, name, "values"), f"ConfigMap {name}")
    return Injected(
        ca_address=_text(values, "global", "caAddress"),
        audience=_text(values, "global", "sds", "token", "aud") or DEFAULT_AUDIENCE,
        cluster=_text(values, "global", "multiCluster", "clusterName") or DEFAULT_CLUSTER,
    )


async def mesh(looking: Looking, place: Place) -> Mesh:
    """What the mesh configuration says.

    Raises:
        Unseen: it cannot be read.
    """
    name = place.named("istio")
    tree = yaml_tree(await _config_map(looking, place, name, "mesh"), f"ConfigMap {name}")
    return Mesh(
        trust_domain=_text(tree, "trustDomain") or DEFAULT_TRUST_DOMAIN,
        ca_address=_text(tree, "defaultConfig", "proxyMetadata", "CA_ADDR"),
    )


async def istiod(looking: Looking, place: Place) -> Workload:
    """The Deployment of istiod.

    Raises:
        Unseen: there is none, or it cannot be read.
    """
    name = place.named("istiod")
    found = await looking.read(_reading("deployments", "apps", place.namespace, name))
    if found is None:
        raise Unseen(f"there is no Deployment {name} in {place.namespace}", WHERE)
    return workload(found)


async def ztunnel(looking: Looking, place: Place) -> Workload | None:
    """The DaemonSet of ztunnel; None when there is none.

    Raises:
        Unseen: it cannot be read.
    """
    found = await looking.read(_reading("daemonsets", "apps", place.ztunnel, "ztunnel"))
    return None if found is None else workload(found)


WHERE: Final = "say where Istio is with --istio-namespace and --revision, or install istiod first"


def workload(tree: Tree) -> Workload:
    """What a Deployment or a DaemonSet says of its pods.

    Raises:
        Unseen: it has another form.
    """
    try:
        pod: Mapping[str, Any] = tree["spec"]["template"]["spec"]
        variables = [entry for one in pod["containers"] for entry in one.get("env") or ()]
        sources = [
            part for one in pod.get("volumes") or () for part in (one.get("projected") or {}).get("sources", ())
        ]
        tokens = [part["serviceAccountToken"] for part in sources if "serviceAccountToken" in part]
        return Workload(
            account=pod.get("serviceAccountName") or "default",
            environment={
                entry["name"]: None if "valueFrom" in entry else entry.get("value", "") for entry in variables
            },
            audiences=tuple(token["audience"] for token in tokens if "audience" in token),
        )
    except (KeyError, TypeError, AttributeError):
        raise Unseen("a Deployment or DaemonSet of another form than Istio's") from None


def orjson_tree(text: str, what: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        Unseen: it is none.
    """
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError:
        tree = None
    return _object(tree, what)


def yaml_tree(text: str, what: str) -> Mapping[str, Any]:
    """A YAML mapping.

    Raises:
        Unseen: it is none.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        tree = None
    return _object(tree, what)


def _object(tree: object, what: str) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise Unseen(f"{what} has another form than Istio's", "compare it with what Istio's chart writes")
    return tree


async def _config_map(looking: Looking, place: Place, name: str, key: str) -> str:
    found = await looking.read(_reading("configmaps", "", place.namespace, name))
    if found is None:
        raise Unseen(f"there is no ConfigMap {name} in {place.namespace}", WHERE)
    text = (found.get("data") or {}).get(key)
    if not isinstance(text, str):
        raise Unseen(f"ConfigMap {name} in {place.namespace} has no key {key}", WHERE)
    return text


def _reading(resource: str, group: str, namespace: str, name: str) -> Permission:
    return Permission(
        verb="get", resource=resource, group=group, namespace=namespace, name=name, value="doctor.enabled"
    )


def _text(tree: Mapping[str, Any], *path: str) -> str:
    found: object = tree
    for name in path:
        if not isinstance(found, Mapping):
            return ""
        found = found.get(name)
    return found if isinstance(found, str) else ""
