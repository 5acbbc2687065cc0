"""The API server, our name there, and its clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.doctor.finding import Verdict
from meshca.doctor.reach import api_server, clock_skew, judge_skew, me
from meshca.errors import Unavailable
from meshca.kube.api import Forbidden
from tests.fakes.doctor import FakeMesh
from tests.fakes.pki import NOW


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_reached(mesh: FakeMesh) -> None:
    """Version and user; commands name that user from now on."""
    site = mesh.site()
    said = await api_server(site)
    assert (said.verdict, said.found) == (
        Verdict.OK,
        "v1.37.2, asked as system:serviceaccount:istio-system:meshca",
    )
    assert site.looking.subject == "--serviceaccount=istio-system:meshca"


@pytest.mark.parametrize("fault", [Unavailable("kube_unreachable", "gone"), Forbidden("kube_forbidden", "gone")])
async def test_not_reached(mesh: FakeMesh, fault: Unavailable) -> None:
    """In a pod, or by a kubeconfig."""
    mesh.server.down = fault
    said = await api_server(mesh.site())
    assert (said.verdict, said.found) == (Verdict.WRONG, "gone")
    assert "KUBERNETES_SERVICE_HOST" in said.mend[0]
    mesh.configure(kubeconfig="/etc/kubeconfig")
    assert "credentials in /etc/kubeconfig" in (await api_server(mesh.site())).mend[0]


async def test_a_user_that_is_no_account(mesh: FakeMesh) -> None:
    """Is told as it is."""
    mesh.server.username = "kubernetes-admin"
    site = mesh.site()
    await api_server(site)
    assert site.looking.subject == "--user=kubernetes-admin"
    assert (await me(site)).account is None


@pytest.mark.parametrize(
    ("ahead", "verdict", "found"),
    [
        (0.5, "ok", "within 1 s of the API server's clock"),
        (10, "ok", "within 10 s of the API server's clock"),
        (-9, "ok", "within 10 s of the API server's clock"),
        (60.5, "wrong", "this clock is 60 s ahead of the API server's"),
        (-59.5, "wrong", "this clock is 60 s behind the API server's"),
    ],
)
def test_skew(ahead: float, verdict: str, found: str) -> None:
    """Ten seconds are let pass."""
    said = judge_skew(NOW, NOW + timedelta(seconds=ahead))
    assert (said.verdict.value, said.found) == (verdict, found)


async def test_clock(mesh: FakeMesh) -> None:
    """Compared with the Date header of an answer that was just given."""
    site = mesh.site()
    assert (await clock_skew(site)).verdict is Verdict.OK
    mesh.server.date = NOW - timedelta(hours=1)
    assert (await clock_skew(site)).found == "this clock is 3600 s ahead of the API server's"


async def test_no_date(mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is unknown."""
    monkeypatch.setattr("tests.fakes.doctor.format_datetime", lambda *_, **__: "")
    assert (await clock_skew(mesh.site())).verdict is Verdict.UNKNOWN
