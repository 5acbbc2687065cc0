"""How istiod is set."""

from __future__ import annotations

import pytest

from meshca.doctor.address import Address
from meshca.doctor.finding import Unseen, Verdict
from meshca.doctor.istiod import audience, ca_address, ca_server, cluster_id, trust_domain
from meshca.doctor.mesh import Place
from meshca.kube.api import Forbidden
from tests.fakes.doctor import ADDRESS, INJECTOR, ISTIOD, MESH, ZTUNNEL, FakeMesh, config_map, injector, workload

HELM = "helm upgrade istiod istio/istiod -n istio-system --reuse-values --set "


@pytest.fixture
def mesh() -> FakeMesh:
    """One that is well."""
    return FakeMesh()


class TestCaServer:
    """ENABLE_CA_SERVER."""

    @pytest.mark.parametrize("value", ["false", "False", "0", "f"])
    async def test_off(self, mesh: FakeMesh, value: str) -> None:
        """In each of Go's spellings."""
        mesh.server.objects[ISTIOD] = workload("istiod", {"ENABLE_CA_SERVER": value})
        assert (await ca_server(mesh.site())).verdict is Verdict.OK

    @pytest.mark.parametrize("environment", [{}, {"ENABLE_CA_SERVER": "true"}, {"ENABLE_CA_SERVER": "no"}])
    async def test_on(self, mesh: FakeMesh, environment: dict[str, str]) -> None:
        """Unless it is told otherwise in one of them."""
        mesh.server.objects[ISTIOD] = workload("istiod", environment)
        said = await ca_server(mesh.site())
        assert (said.verdict, said.mend) == (Verdict.WRONG, (f"{HELM}pilot.env.ENABLE_CA_SERVER=false",))

    async def test_kept_elsewhere(self, mesh: FakeMesh) -> None:
        """A value that is not in the Deployment is unknown."""
        mesh.server.objects[ISTIOD] = workload("istiod", {"ENABLE_CA_SERVER": None})
        assert (await ca_server(mesh.site())).verdict is Verdict.UNKNOWN


class TestCaAddress:
    """global.caAddress."""

    async def test_ours(self, mesh: FakeMesh) -> None:
        """As it is."""
        assert (await ca_address(mesh.site())).found == ADDRESS

    @pytest.mark.parametrize(
        ("told", "found"),
        [
            ("", "global.caAddress is empty, so proxies ask istiod"),
            ("nonsense", "global.caAddress is 'nonsense': expected host:port"),
            ("istiod.istio-system.svc:15012", "is istiod.istio-system.svc:15012, which is istiod"),
            ("istiod.istio-system.svc.cluster.local:15012", "which is istiod"),
            ("istiod.istio-system:15012", "which is istiod"),
            ("meshca.istio-system.svc:15010", "agents speak plain text to port 15010"),
        ],
    )
    async def test_wrong(self, mesh: FakeMesh, told: str, found: str) -> None:
        """With the address to set."""
        mesh.server.objects[INJECTOR] = injector(told)
        said = await ca_address(mesh.site())
        assert said.verdict is Verdict.WRONG
        assert found in said.found
        assert said.mend == (f"{HELM}global.caAddress={ADDRESS}",)

    async def test_istiod_of_a_revision(self, mesh: FakeMesh) -> None:
        """Has another name."""
        mesh.place = Place(revision="canary")
        path = f"{INJECTOR}-canary"
        mesh.server.objects[path] = injector("istiod-canary.istio-system.svc:15012")
        assert "which is istiod" in (await ca_address(mesh.site())).found

    async def test_by_flag(self, mesh: FakeMesh) -> None:
        """Whoever says it, knows it."""
        said = await ca_address(mesh.site(ca_address=Address(host="a", port=1)))
        assert (said.verdict, said.found) == (Verdict.OK, "a:1, as --ca-address says")


async def test_trust_domain(mesh: FakeMesh) -> None:
    """One name for both, or both ways to get there."""
    assert (await trust_domain(mesh.site())).found == "cluster.local"
    mesh.server.objects[MESH] = config_map({"mesh": "trustDomain: prod"})
    said = await trust_domain(mesh.site())
    assert said.verdict is Verdict.WRONG
    assert said.mend == (
        (
            "trust_domain: prod (chart value trustDomain), and restart meshca; or "
            f"{HELM}meshConfig.trustDomain=cluster.local"
        ),
    )


class TestAudience:
    """Of proxies' tokens."""

    async def test_same(self, mesh: FakeMesh) -> None:
        """Once, though two use it."""
        assert (await audience(mesh.site())).found == "istio-ca"

    async def test_sidecars(self, mesh: FakeMesh) -> None:
        """The whole new value of the key."""
        mesh.server.objects[INJECTOR] = injector(audience="mine")
        said = await audience(mesh.site())
        assert said.found == "global.sds.token.aud is mine, but only tokens for istio-ca are believed"
        assert said.mend == ("kubernetes.token_review.audiences: [istio-ca, mine] (chart value config)",)

    async def test_ztunnel(self, mesh: FakeMesh) -> None:
        """Has its own."""
        mesh.server.objects[ZTUNNEL] = workload("ztunnel", {}, audience="node")
        assert (await audience(mesh.site())).found.startswith("ztunnel's token is node, but")

    async def test_unseen_ztunnel(self, mesh: FakeMesh) -> None:
        """Hides nothing of the sidecars'."""
        mesh.server.objects[ZTUNNEL] = Forbidden("kube_forbidden", "no")
        assert (await audience(mesh.site())).verdict is Verdict.OK

    async def test_by_issuers(self, mesh: FakeMesh) -> None:
        """Where no token is reviewed, theirs count."""
        mesh.configure(token_review={"enabled": False}, trusted_node_accounts=[])
        said = await audience(mesh.site())
        assert "only tokens for nobody are believed" in said.found
        assert said.mend[0].startswith("authn.issuers[].audiences: [istio-ca]")


async def test_cluster_id(mesh: FakeMesh) -> None:
    """Istio's default, our name, or one that is configured; not looked at without reviews."""
    assert (await cluster_id(mesh.site())).found == "Kubernetes"
    mesh.server.objects[INJECTOR] = injector(cluster="home")
    assert (await cluster_id(mesh.site())).verdict is Verdict.OK
    mesh.server.objects[INJECTOR] = injector(cluster="east")
    said = await cluster_id(mesh.site())
    assert said.mend == ("kubernetes.cluster_ids: [Kubernetes, east] (chart value config)",)
    mesh.configure(token_review={"enabled": False}, trusted_node_accounts=[])
    assert (await cluster_id(mesh.site())).verdict is Verdict.OK


async def test_unseen(mesh: FakeMesh) -> None:
    """Is passed on by all that need it."""
    for path in (ISTIOD, INJECTOR, MESH):
        mesh.server.objects[path] = Forbidden("kube_forbidden", "no")
    for check in (ca_server, ca_address, trust_domain, audience, cluster_id):
        with pytest.raises(Unseen):
            await check(mesh.site())
