"""Each thing is looked at once, and a missing right of ours is no fault of the mesh."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import Unseen
from meshca.doctor.looking import Looking, path_of
from meshca.doctor.permission import Permission
from meshca.errors import Unavailable
from meshca.kube.api import Forbidden
from tests.fakes.doctor import MESH, FakeMesh

READ = Permission(
    verb="get", resource="configmaps", namespace="istio-system", name="istio", value="doctor.enabled"
)
MISSING = Permission(verb="get", resource="configmaps", namespace="istio-system", name="none")


async def test_once() -> None:
    """The second look asks nobody, whether it was there or not."""
    server = FakeMesh().server
    looking = Looking(server)
    assert await looking.read(READ) == await looking.read(READ) == server.objects[MESH]
    assert await looking.read(MISSING) is await looking.read(MISSING) is None
    assert len(server.asked) == 2


async def test_forbidden() -> None:
    """How the doctor gets the right."""
    server = FakeMesh().server
    server.objects[MESH] = Forbidden("kube_forbidden", "no")
    looking = Looking(server)
    looking.subject = "--serviceaccount=a:b"
    with pytest.raises(Unseen):
        await looking.read(READ)
    with pytest.raises(Unseen) as caught:
        await looking.read(READ)
    assert caught.value.said.found == "not allowed to get configmaps istio in istio-system"
    (mend,) = caught.value.said.mend
    assert mend.startswith("chart value doctor.enabled, or: kubectl create role meshca-get-configmaps")
    assert server.asked == [MESH]


async def test_unavailable() -> None:
    """Points to the check of the API server."""
    server = FakeMesh().server
    server.down = Unavailable("kube_unreachable", "it is gone")
    with pytest.raises(Unseen, match="it is gone") as caught:
        await Looking(server).read(READ)
    assert caught.value.said.mend == ("see what `api-server` says",)


@pytest.mark.parametrize(
    ("permission", "path"),
    [
        (READ, MESH),
        (
            Permission(verb="get", resource="deployments", group="apps", namespace="a", name="b"),
            "/apis/apps/v1/namespaces/a/deployments/b",
        ),
        (Permission(verb="list", resource="namespaces"), "/api/v1/namespaces"),
        (Permission(verb="list", resource="configmaps", name="one"), "/api/v1/configmaps"),
    ],
)
def test_path(permission: Permission, path: str) -> None:
    """A list is of the collection, though its right is of one name."""
    assert path_of(permission) == path
