"""The ConfigMaps of roots, compared with the CA's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.doctor.finding import Verdict
from meshca.doctor.root_config_map import managers, root_config_map
from meshca.errors import Unavailable
from tests.fakes.doctor import NAME, ROOTS, FakeMesh, config_map
from tests.fakes.pki import NOW, make_ca

SHOP = ROOTS.format("shop")
OTHER = make_ca("other")
OLD = make_ca("old", end=NOW - timedelta(days=1))


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_good(mesh: FakeMesh) -> None:
    """In all of them."""
    said = await root_config_map(mesh.site())
    assert (said.verdict, said.found) == (
        Verdict.OK,
        "istio-ca-root-cert holds the CA's roots in all 2 namespaces",
    )


async def test_an_ended_root_of_the_ca_is_not_missed(mesh: FakeMesh) -> None:
    """It is not published."""
    mesh.issuing.roots = mesh.ca.pem + OLD.pem
    assert (await root_config_map(mesh.site())).verdict is Verdict.OK


async def test_missing(mesh: FakeMesh) -> None:
    """By name."""
    del mesh.server.objects[SHOP]
    said = await root_config_map(mesh.site())
    assert said.found == "istio-ca-root-cert: missing in 1 of 2 namespaces (shop)"
    assert said.mend == (
        "one replica writes it within a second: see `permissions`, and `meshca status` for why none does",
    )


async def test_two_faults(mesh: FakeMesh) -> None:
    """In one line."""
    mesh.server.objects[SHOP] = config_map({"other": "x"}, "shop")
    mesh.server.objects[ROOTS.format("istio-system")] = config_map({"root-cert.pem": mesh.ca.pem + OTHER.pem})
    said = await root_config_map(mesh.site())
    assert said.found == (
        "istio-ca-root-cert: without the key root-cert.pem in 1 of 2 namespaces (shop);"
        " not the CA's roots in 1 of 2 namespaces (istio-system)"
    )


@pytest.mark.parametrize(
    ("manager", "mend"),
    [
        ("pilot-discovery", "istiod still writes it: see `istiod-ca-server`"),
        (
            "kubectl-edit",
            (
                "also written by kubectl-edit: stop that (kubectl get configmap istio-ca-root-cert "
                "--show-managed-fields -o yaml)"
            ),
        ),
    ],
)
async def test_writer(mesh: FakeMesh, manager: str, mend: str) -> None:
    """Who else wrote is named."""
    mesh.server.objects[SHOP] = config_map({"root-cert.pem": OTHER.pem}, "shop", manager)
    assert (await root_config_map(mesh.site())).mend[-1] == mend


async def test_not_ours_to_write(mesh: FakeMesh) -> None:
    """More roots may be in one that somebody else keeps, but the CA's must."""
    mesh.configure(root_config_map={"enabled": False, "namespaces": ["shop"]})
    mesh.server.objects[SHOP] = config_map({"root-cert.pem": OTHER.pem + mesh.ca.pem}, "shop", "kubectl")
    assert (await root_config_map(mesh.site())).verdict is Verdict.OK
    mesh.server.objects[SHOP] = config_map({"root-cert.pem": OTHER.pem}, "shop", "kubectl")
    said = await root_config_map(mesh.site())
    assert said.mend[0].startswith("let meshca write it: kubernetes.root_config_map.enabled: true")


class TestServed:
    """What is compared with."""

    async def test_without_an_issuance(self, mesh: FakeMesh) -> None:
        """The root that the port shows must be there; others may be."""
        mesh.issuing.fault = Unavailable("ca", "gone")
        mesh.server.objects[SHOP] = config_map({"root-cert.pem": OTHER.pem + mesh.ca.pem}, "shop")
        assert (await root_config_map(mesh.site())).verdict is Verdict.OK
        mesh.server.objects[SHOP] = config_map({"root-cert.pem": OTHER.pem}, "shop")
        assert (await root_config_map(mesh.site())).verdict is Verdict.WRONG

    async def test_nothing_known(self, mesh: FakeMesh) -> None:
        """Nothing can be compared."""
        mesh.shown = OSError()
        assert (await root_config_map(mesh.site())).verdict is Verdict.UNKNOWN

    async def test_no_root_is_shown(self, mesh: FakeMesh) -> None:
        """An intermediate is none."""
        mesh.issuing.fault = Unavailable("ca", "gone")
        mesh.shown = mesh.showing(NAME, ca=make_ca("between", mesh.ca))
        assert (await root_config_map(mesh.site())).verdict is Verdict.UNKNOWN


async def test_whole_cluster(mesh: FakeMesh) -> None:
    """All namespaces but those that are left out or end."""
    mesh.configure(root_config_map={"enabled": True, "except": ["kube-public"]})
    spaces = [{"metadata": {"name": name}} for name in ("istio-system", "shop", "kube-public")]
    spaces.append({"metadata": {"name": "ending", "deletionTimestamp": "now"}})
    mesh.server.objects["/api/v1/namespaces"] = {"items": spaces}
    mesh.server.objects["/api/v1/configmaps"] = {"items": [config_map({"root-cert.pem": mesh.ca.pem})]}
    said = await root_config_map(mesh.site())
    assert said.found == "istio-ca-root-cert: missing in 1 of 2 namespaces (shop)"


def test_managers() -> None:
    """Of that key only."""
    item = config_map({"root-cert.pem": ""}, manager="one")
    assert list(managers(item, "root-cert.pem")) == ["one"]
    assert list(managers(item, "other")) == []
    assert list(managers({"metadata": {}}, "root-cert.pem")) == []
