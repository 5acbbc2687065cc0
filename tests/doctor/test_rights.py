"""The server's permissions, asked about."""

from __future__ import annotations

from meshca.doctor.finding import Verdict
from meshca.doctor.reach import api_server
from meshca.doctor.rights import ASK, permissions
from tests.fakes.doctor import FakeMesh

GRANT = (
    "kubectl create clusterrole meshca-list-pods --verb=list --resource=pods && kubectl create clusterrolebinding"
    " meshca-list-pods --clusterrole=meshca-list-pods --serviceaccount=istio-system:meshca"
)


async def test_all() -> None:
    """As many as were asked about, and as whom."""
    mesh = FakeMesh()
    said = await permissions(mesh.site())
    count = mesh.server.asked.count(ASK)
    assert said.verdict is Verdict.OK
    assert said.found == (
        f"system:serviceaccount:istio-system:meshca has all {count} that this configuration needs"
    )
    assert mesh.server.created[ASK]["kind"] == "SelfSubjectAccessReview"


async def test_missing() -> None:
    """Each with the chart's value, or that the chart brings it, and with a command."""
    mesh = FakeMesh()
    mesh.server.refused = {"list pods", "patch configmaps"}
    site = mesh.site()
    await api_server(site)
    said = await permissions(site)
    assert said.verdict is Verdict.WRONG
    assert said.found.startswith("system:serviceaccount:istio-system:meshca lacks 3 of ")
    assert said.found.endswith(
        ": list pods in the whole cluster, patch configmaps istio-ca-root-cert in istio-system,"
        " patch configmaps istio-ca-root-cert in shop"
    )
    assert said.mend[0] == f"list pods in the whole cluster: the chart (always there), or: {GRANT}"
    assert "in shop: chart value rootConfigMap.namespaces, or: kubectl create role" in said.mend[2]


async def test_no_command() -> None:
    """Where kubectl has none, the chart's value stands alone."""
    mesh = FakeMesh()
    mesh.configure(cluster_trust_bundle={"enabled": True})
    mesh.server.refused = {"attest signers"}
    (mend,) = (await permissions(mesh.site())).mend
    assert mend.endswith("in the whole cluster: chart value clusterTrustBundle.signer")
