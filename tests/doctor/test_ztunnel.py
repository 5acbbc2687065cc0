"""ztunnel's account and address."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import Verdict
from meshca.doctor.ztunnel import ztunnel
from tests.fakes.doctor import ADDRESS, ZTUNNEL, FakeMesh, workload


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


async def test_good(mesh: FakeMesh) -> None:
    """Trusted, and ours."""
    assert (await ztunnel(mesh.site())).found == f"istio-system/ztunnel is trusted, and asks {ADDRESS}"


async def test_none(mesh: FakeMesh) -> None:
    """Nothing to trust."""
    del mesh.server.objects[ZTUNNEL]
    assert (await ztunnel(mesh.site())).found == "no DaemonSet ztunnel in istio-system"


@pytest.mark.parametrize(("trusted", "told"), [([], "nobody"), (["kube-system/ztunnel"], "kube-system/ztunnel")])
async def test_not_trusted(mesh: FakeMesh, trusted: list[str], told: str) -> None:
    """The account to add, beside whom is trusted."""
    mesh.configure(trusted_node_accounts=trusted)
    said = await ztunnel(mesh.site())
    assert (said.verdict, f"but trusted is {told}:" in said.found) == (Verdict.WRONG, True)
    assert said.mend == (
        "kubernetes.trusted_node_accounts: [istio-system/ztunnel] (chart value trustedNodeAccounts)",
    )


@pytest.mark.parametrize(
    ("environment", "told"),
    [({}, "istiod"), ({"CA_ADDRESS": "other:1"}, "other:1"), ({"CA_ADDRESS": "other"}, "other")],
)
async def test_asks_another(mesh: FakeMesh, environment: dict[str, str | None], told: str) -> None:
    """Than proxies do."""
    mesh.server.objects[ZTUNNEL] = workload("ztunnel", environment)
    said = await ztunnel(mesh.site())
    assert said.found == f"ztunnel asks {told} for certificates, proxies ask {ADDRESS}"
    assert said.mend[0].endswith(f"--set caAddress={ADDRESS}")
