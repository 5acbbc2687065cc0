"""The roots that proxies are given."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import Unseen
from meshca.doctor.roots import published
from tests.fakes.doctor import ROOTS, FakeMesh, config_map


async def test_of_istiods_namespace() -> None:
    """Where istiod mounts them, unless another is asked for."""
    mesh = FakeMesh()
    assert await published(mesh.site()) == (mesh.ca.certificate,)
    assert await published(mesh.site(), "shop") == (mesh.ca.certificate,)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, "there is no ConfigMap istio-ca-root-cert in istio-system"),
        ({}, "ConfigMap istio-ca-root-cert in istio-system has no certificate under root-cert.pem"),
        (
            {"root-cert.pem": "x"},
            "ConfigMap istio-ca-root-cert in istio-system has no certificate under root-cert.pem",
        ),
    ],
)
async def test_none(data: dict[str, str] | None, found: str) -> None:
    """Nothing can be compared with it."""
    mesh = FakeMesh()
    path = ROOTS.format("istio-system")
    if data is None:
        del mesh.server.objects[path]
    else:
        mesh.server.objects[path] = config_map(data)
    with pytest.raises(Unseen) as caught:
        await published(mesh.site())
    assert caught.value.said.found == found
