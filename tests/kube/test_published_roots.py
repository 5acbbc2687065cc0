"""What workloads have got already, on a cluster in memory."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.config.kubernetes import RootConfigMapConfig
from meshca.errors import Unavailable
from meshca.kube.api import Forbidden
from meshca.kube.published_roots import PublishedRoots
from tests.fakes.kube_objects import FakeKube

CONFIG = RootConfigMapConfig(enabled=True)


def path(namespace: str) -> str:
    """Of a ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert"


@pytest.fixture
def kube() -> FakeKube:
    """A cluster with a namespace of ours."""
    made = FakeKube()
    made.namespace("ours")
    return made


async def test_none(kube: FakeKube) -> None:
    """Without a ConfigMap there is nothing."""
    assert await PublishedRoots(kube.api, CONFIG, "ours").read() == ""


@pytest.mark.parametrize(
    ("data", "text"), [({"root-cert.pem": "roots"}, "roots"), ({"other": "x"}, ""), ({"root-cert.pem": ""}, "")]
)
async def test_there(kube: FakeKube, data: dict[str, Any], text: str) -> None:
    """What the key holds; other keys do not count."""
    await kube.api.apply(path("ours"), {"metadata": {"name": "istio-ca-root-cert"}, "data": data}, manager="x")
    assert await PublishedRoots(kube.api, CONFIG, "ours").read() == text


async def test_forbidden(kube: FakeKube) -> None:
    """A missing permission is not taken for nothing."""
    kube.refusing[path("ours")] = Forbidden("kube_forbidden", "home: get configmaps in ours: forbidden")
    with pytest.raises(Unavailable, match="get configmaps in ours"):
        await PublishedRoots(kube.api, CONFIG, "ours").read()


@pytest.mark.parametrize(
    ("namespaces", "where"),
    [((), "ours"), (("a", "ours"), "ours"), (("a", "b"), "a"), (("kube-public", "b"), "b")],
)
def test_where(kube: FakeKube, namespaces: tuple[str, ...], where: str) -> None:
    """Our own namespace, or the first of those that are published to."""
    config = RootConfigMapConfig(enabled=True, namespaces=namespaces)
    place = PublishedRoots(kube.api, config, "ours").place
    assert place == f"ConfigMap istio-ca-root-cert in namespace {where}"
