"""Istio's objects, read."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.doctor import mesh
from meshca.doctor.finding import Unseen
from meshca.doctor.looking import Looking
from meshca.doctor.mesh import Injected, Mesh, Place, Workload
from tests.fakes.doctor import INJECTOR, ISTIOD, MESH, ZTUNNEL, FakeMesh, config_map, injector, workload

PLACE = Place()


@pytest.fixture
def fake() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_injected(fake: FakeMesh) -> None:
    """What is set."""
    fake.server.objects[INJECTOR] = injector("a:1", "my-mesh", "east")
    expected = Injected(ca_address="a:1", audience="my-mesh", cluster="east")
    assert await mesh.injected(Looking(fake.server), PLACE) == expected


@pytest.mark.parametrize("values", ["{}", '{"global": null}', '{"global": {"sds": {"token": {"aud": 1}}}}'])
async def test_injected_defaults(fake: FakeMesh, values: str) -> None:
    """The chart's defaults, where nothing is set or nothing sensible."""
    fake.server.objects[INJECTOR] = config_map({"values": values})
    expected = Injected(ca_address="", audience="istio-ca", cluster="Kubernetes")
    assert await mesh.injected(Looking(fake.server), PLACE) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Mesh(trust_domain="cluster.local", ca_address="")),
        ("trustDomain: td", Mesh(trust_domain="td", ca_address="")),
        ("defaultConfig: {proxyMetadata: {CA_ADDR: 'a:1'}}", Mesh(trust_domain="cluster.local", ca_address="a:1")),
    ],
)
async def test_mesh(fake: FakeMesh, text: str, expected: Mesh) -> None:
    """The mesh configuration with its defaults."""
    fake.server.objects[MESH] = config_map({"mesh": text})
    assert await mesh.mesh(Looking(fake.server), PLACE) == expected


@pytest.mark.parametrize("text", ["[]", "a: [", "text", ""])
async def test_other_forms(fake: FakeMesh, text: str) -> None:
    """Are not guessed at."""
    fake.server.objects |= {MESH: config_map({"mesh": text}), INJECTOR: config_map({"values": text})}
    for read in (mesh.mesh, mesh.injected):
        with pytest.raises(Unseen, match="another form than Istio's"):
            await read(Looking(fake.server), PLACE)


async def test_missing(fake: FakeMesh) -> None:
    """Says where it was looked for."""
    fake.server.objects[MESH] = config_map({"other": ""})
    with pytest.raises(Unseen, match="ConfigMap istio in istio-system has no key mesh"):
        await mesh.mesh(Looking(fake.server), PLACE)
    place = Place(namespace="istio", revision="canary", ztunnel="kube-system")
    looking = Looking(fake.server)
    with pytest.raises(Unseen, match="there is no ConfigMap istio-canary in istio"):
        await mesh.mesh(looking, place)
    with pytest.raises(Unseen, match="there is no ConfigMap istio-sidecar-injector-canary in istio"):
        await mesh.injected(looking, place)
    with pytest.raises(Unseen, match="there is no Deployment istiod-canary in istio"):
        await mesh.istiod(looking, place)
    assert await mesh.ztunnel(looking, place) is None
    assert fake.server.asked[-1] == "/apis/apps/v1/namespaces/kube-system/daemonsets/ztunnel"


async def test_workloads(fake: FakeMesh) -> None:
    """Account, variables, audiences of tokens."""
    fake.server.objects[ISTIOD] = workload("istiod", {"A": "1", "B": None})
    looking = Looking(fake.server)
    expected = Workload(account="istiod", environment={"A": "1", "B": None}, audiences=("istio-ca",))
    assert await mesh.istiod(looking, PLACE) == expected
    found = await mesh.ztunnel(looking, PLACE)
    assert found is not None
    assert found.account == "ztunnel"


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"spec": {"template": {"spec": {"containers": 1}}}},
        {"spec": {"template": {"spec": {"containers": [1]}}}},
    ],
)
def test_workloads_of_other_forms(tree: Any) -> None:
    """Are not guessed at."""
    with pytest.raises(Unseen, match="another form"):
        mesh.workload(tree)


def test_a_plain_workload() -> None:
    """Runs as the default account, without variables or tokens."""
    tree = {"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"env": [{"name": "EMPTY"}]}]}}}}
    assert mesh.workload(tree) == Workload(account="default", environment={"EMPTY": ""}, audiences=())


async def test_ztunnel_path(fake: FakeMesh) -> None:
    """By its name."""
    await mesh.ztunnel(Looking(fake.server), PLACE)
    assert fake.server.asked == [ZTUNNEL]
