"""Manifests and settings that the tests of injection look at, and strategies that make more of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from meshca.sidecar.inject_settings import INBOUND, Settings

Tree = dict[str, Any]

SETTINGS = Settings(
    version="1.2.3",
    image="meshca:1.2.3",
    envoy_image="envoy:1",
    endpoint="ca.mesh:15012",
    endpoint_mtls="ca.mesh:15013",
)
IN = {INBOUND: "8443:8080"}
APP: Tree = {"name": "app", "image": "app:1"}


def settings(**changes: Any) -> Settings:
    """The settings with some changed."""
    fields = {name: getattr(SETTINGS, name) for name in Settings.__slots__}
    return Settings(**(fields | changes))


def pod(annotations: Tree | None = None, **spec: Any) -> Tree:
    """A pod with one container and one port for peers."""
    return {
        "metadata": {"annotations": dict(IN) if annotations is None else annotations},
        "spec": {"containers": [APP], **spec},
    }


def deployment(annotations: Tree | None = None, **spec: Any) -> Tree:
    """A Deployment of such pods."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "template": pod(annotations, **spec)},
    }


def complete(group: str, kind: str, annotations: Tree | None = None) -> Tree:
    """An object of a kind with all that the API server asks for."""
    template = pod(annotations, restartPolicy="Never" if group == "batch" else "Always")
    labels = {"app": "web"}
    template["metadata"]["labels"] = labels
    spec: Tree = {"template": template}
    if group == "apps":
        spec["selector"] = {"matchLabels": labels}
    if kind == "StatefulSet":
        spec["serviceName"] = "web"
    if kind == "CronJob":
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    head = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind}
    if kind == "Pod":
        return head | {"metadata": template["metadata"] | {"name": "web"}, "spec": template["spec"]}
    return head | {"metadata": {"name": "web"}, "spec": spec}


# Names like those of Kubernetes, and values as manifests have them; none is a name of ours.
_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,6}[a-z0-9]", fullmatch=True)
_TEXTS = st.text("ab1:#'\" -{}[],&*!|>%@é", max_size=8)
_SCALARS = st.one_of(st.booleans(), st.integers(0, 9), _TEXTS)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=6,
)
_ITEMS = st.lists(
    st.fixed_dictionaries({"name": _NAMES}, optional={"image": _TEXTS, "args": st.lists(_TEXTS), "env": _TREES}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
_SPECS = st.fixed_dictionaries(
    {"containers": _ITEMS.filter(bool)},
    optional={
        "initContainers": st.one_of(st.none(), _ITEMS),
        "volumes": st.one_of(st.none(), _ITEMS),
        "nodeSelector": st.dictionaries(_NAMES, _TEXTS, max_size=2),
        "restartPolicy": st.just("Always"),
    },
)
_METADATA = st.fixed_dictionaries(
    {"annotations": st.dictionaries(_NAMES, _TEXTS, max_size=2).map(lambda own: own | IN)},
    optional={"labels": st.dictionaries(_NAMES, _TEXTS, max_size=2)},
)
PODS = st.fixed_dictionaries({"metadata": _METADATA, "spec": _SPECS})
WORKLOADS = PODS.map(
    lambda template: {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": template},
    }
)
OTHERS = st.dictionaries(_NAMES, _TREES, min_size=1, max_size=4)
