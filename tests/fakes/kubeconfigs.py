"""Kubeconfigs in Secrets, as an administrator of several clusters makes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import yaml

from meshca.kube.api import Tree


def kubeconfig(server: str, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> dict[str, Any]:
    """A kubeconfig of one cluster and one user."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "there"}}],
        "current-context": "x",
    }


def inline_kubeconfig(server: str = "https://127.0.0.1:1", **cluster: str) -> str:
    """One with inline credentials only; by default of a server that is not there."""
    tree: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return str(yaml.safe_dump(tree))


def secret_item(name: str, kubeconfigs: Mapping[str, str], created: str = "2026-01-01T00:00:00Z") -> Tree:
    """A Secret as an API server writes it."""
    return {
        "metadata": {"namespace": "meshca", "name": name, "creationTimestamp": created},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in kubeconfigs.items()},
    }
