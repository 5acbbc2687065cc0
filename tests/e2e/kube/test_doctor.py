"""`meshca doctor istio` against a real API server: all is well, then one fault at a time, found with its mend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.doctor.address import Address
from meshca.doctor.finding import Finding
from meshca.doctor.istio import CHECKS
from tests.e2e.kube.cluster import TestCluster, open_cluster, until
from tests.e2e.kube.istio_like import CA_NAME, NOBODY, IstioLike, config_map, root, serving, workload
from tests.e2e.kube.serve import RULES, serving_cluster
from tests.e2e.kube.way import way_to
from tests.fakes.cacerts import cacerts, write
from tests.fakes.pki import Ca
from tests.real.dev_server import Server

pytestmark = pytest.mark.real("kubernetes")


@dataclass(frozen=True, kw_only=True)
class Served:
    """A CA that runs, and its root with the key."""

    server: Server
    ca: Ca


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests: it proves callers; what it would write is written by the tests."""
    folder, ca = tmp_path_factory.mktemp("doctor"), root("root of the mesh")
    write(folder / "cacerts", cacerts(ca, roots=(ca,)))
    with asyncio.Runner() as runner:
        opened = open_cluster()
        cluster = runner.run(opened.__aenter__())

        async def account() -> Path:
            made = await cluster.account(folder, await cluster.namespace(), "ca", cluster_rules=RULES)
            return made.kubeconfig

        section = {"kubeconfig": str(runner.run(account()))}
        upstream = {"kind": "files", "dir": str(folder / "cacerts")}
        names = {"names": [CA_NAME, "localhost", "127.0.0.1"]}
        with serving_cluster(folder / "ca", section, upstream=upstream, serving=names) as server:
            yield Served(server=server, ca=ca)
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture
async def istio(cluster: TestCluster, served: Served, tmp_path: Path) -> IstioLike:
    """An installation to be installed."""
    namespace, shop = await cluster.namespace(), await cluster.namespace()
    return IstioLike(
        cluster=cluster, folder=tmp_path, server=served.server, ca=served.ca, namespace=namespace, shop=shop
    )


def not_ok(found: dict[str, Finding]) -> dict[str, str]:
    """Checks that are not ok, and their verdicts."""
    return {name: finding.verdict.value for name, finding in found.items() if finding.verdict != "ok"}


async def whole_cluster(istio: IstioLike) -> dict[str, Finding]:
    """What is found where all namespaces but ours are left out; again while other tests make or remove theirs."""

    async def others() -> list[str]:
        every = (await istio.cluster.api.get("/api/v1/namespaces"))["items"]
        return sorted({one["metadata"]["name"] for one in every} - {istio.namespace, istio.shop})

    while True:
        left_out = await others()
        istio.write_config(root_config_map={"enabled": True, "except": left_out})
        found = await istio.examined()
        if await others() == left_out:
            return found


async def test_all_is_well(istio: IstioLike) -> None:
    """Every check is asked, every one is ok, and the certificate is of the doctor's own account."""
    await istio.install()
    found = await istio.examined()
    assert list(found) == list(CHECKS)
    assert not_ok(found) == {}, found
    assert f"spiffe://cluster.local/ns/{istio.namespace}/sa/meshca until" in found["issuance"].found


async def test_what_meshca_writes_is_well(cluster: TestCluster, tmp_path: Path) -> None:
    """With all that is switched on, a server with just these rights satisfies its own doctor."""
    istio = IstioLike(
        cluster=cluster,
        folder=tmp_path,
        server=None,
        ca=root("of nobody"),
        by_meshca=True,
        namespace=await cluster.namespace(),
        shop=await cluster.namespace(),
    )
    await istio.install()
    names = {"names": [CA_NAME, "localhost", "127.0.0.1"]}
    found: dict[str, Finding] = {}

    async def is_well() -> bool:
        found.update(await istio.examined())
        return not not_ok(found)

    with serving_cluster(tmp_path / "ca", istio.section(), serving=names) as istio.server:
        try:
            await until(is_well)
        except TimeoutError:
            assert not_ok(found) == {}, found
    assert found["root-config-map"].found == "istio-ca-root-cert holds the CA's roots in all 2 namespaces"


async def only(istio: IstioLike, name: str, verdict: str = "wrong") -> Finding:
    """The one finding that is not ok."""
    found = await istio.examined()
    assert not_ok(found) == {name: verdict}, found
    return found[name]


class TestEndpoint:
    """The CA's token port."""

    async def test_called_by_a_name_that_its_certificate_lacks(self, istio: IstioLike) -> None:
        """Named, with the names that it has, and both ways to mend it."""
        await istio.install()
        await istio.injector(f"{NOBODY}:15012")
        daemon_set = workload(
            "DaemonSet", "ztunnel", "ztunnel", [{"name": "CA_ADDRESS", "value": f"{NOBODY}:15012"}]
        )
        path = f"/apis/apps/v1/namespaces/{istio.namespace}/daemonsets/ztunnel"
        await istio.cluster.api.apply(path, daemon_set, manager="tests", force=True)
        found = await istio.examined()
        assert not_ok(found) == {"endpoint": "wrong", "issuance": "unknown"}, found
        assert f"not for {NOBODY} (global.caAddress) but for {CA_NAME}, localhost" in found["endpoint"].found
        assert f"add {NOBODY} to serving.names" in found["endpoint"].mend[0]

    async def test_nobody_listens(self, istio: IstioLike) -> None:
        """Where, and where to look; what needs the CA is unknown."""
        await istio.install()
        found = await istio.examined(endpoint=Address(host="127.0.0.1", port=1))
        assert not_ok(found) == {"endpoint": "wrong", "issuance": "unknown", "root-config-map": "unknown"}
        assert "no TLS server answers at 127.0.0.1:1" in found["endpoint"].found

    async def test_signed_by_another_root_than_is_published(self, istio: IstioLike) -> None:
        """The token is not sent there."""
        await istio.install()
        other = root("another root")
        await istio.secret(serving(other, f"istiod.{istio.namespace}.svc"))
        for namespace in (istio.namespace, istio.shop):
            await istio.roots(namespace, other.pem)
        found = await istio.examined()
        expected = {"endpoint": "wrong", "issuance": "unknown", "root-config-map": "wrong"}
        assert not_ok(found) == expected, found
        assert "leads to no published root" in found["endpoint"].found
        assert "a token must not go to a stranger" in found["issuance"].found


class TestRoots:
    """The ConfigMap of each namespace."""

    async def test_missing(self, istio: IstioLike) -> None:
        """The namespace is named."""
        await istio.install()
        await istio.cluster.api.delete(f"/api/v1/namespaces/{istio.shop}/configmaps/istio-ca-root-cert")
        finding = await only(istio, "root-config-map")
        assert finding.found == f"istio-ca-root-cert: missing in 1 of 2 namespaces ({istio.shop})"
        assert "`meshca status`" in finding.mend[0]

    async def test_edited(self, istio: IstioLike) -> None:
        """Who did it is named."""
        await istio.install()
        await istio.roots(istio.shop, root("of an intruder").pem, manager="kubectl-edit")
        finding = await only(istio, "root-config-map")
        assert finding.found == f"istio-ca-root-cert: not the CA's roots in 1 of 2 namespaces ({istio.shop})"
        assert "also written by kubectl-edit" in finding.mend[-1]

    async def test_more_than_the_cas(self, istio: IstioLike) -> None:
        """A root too many is trusted by every proxy."""
        await istio.install()
        await istio.roots(istio.shop, istio.ca.pem + root("of an intruder").pem, manager="kubectl-edit")
        assert "not the CA's roots" in (await only(istio, "root-config-map")).found

    async def test_written_by_istiod(self, istio: IstioLike) -> None:
        """Istiod is told apart from other writers."""
        await istio.install()
        await istio.roots(istio.shop, root("of istiod").pem, manager="pilot-discovery")
        assert "istiod still writes it: see `istiod-ca-server`" in (await only(istio, "root-config-map")).mend

    async def test_other_key(self, istio: IstioLike) -> None:
        """Proxies mount the key, not the ConfigMap."""
        await istio.install()
        path = f"/api/v1/namespaces/{istio.shop}/configmaps/istio-ca-root-cert"
        await istio.cluster.api.delete(path)
        body = config_map("istio-ca-root-cert", {"ca.crt": istio.ca.pem})
        await istio.cluster.api.apply(path, body, manager="tests")
        assert "without the key root-cert.pem in 1 of 2" in (await only(istio, "root-config-map")).found

    async def test_whole_cluster(self, istio: IstioLike) -> None:
        """With no namespaces listed, all are looked at but those that are left out."""
        istio.everywhere = True
        await istio.install()
        assert not_ok(await whole_cluster(istio)) == {}
        await istio.cluster.api.delete(f"/api/v1/namespaces/{istio.shop}/configmaps/istio-ca-root-cert")
        found = await whole_cluster(istio)
        assert not_ok(found) == {"root-config-map": "wrong"}
        assert f"missing in 1 of 2 namespaces ({istio.shop})" in found["root-config-map"].found


# verb and resource that are taken away -> what is named, and the chart's value
RIGHTS = {
    ("create", "tokenreviews"): "create tokenreviews.authentication.k8s.io in the whole cluster: the chart",
    ("get", "pods"): "get pods in the whole cluster: the chart",
    ("list", "pods"): "list pods in the whole cluster: the chart",
    ("watch", "pods"): "watch pods in the whole cluster: the chart",
    (
        "list",
        "configmaps istio-ca-root-cert",
    ): "list configmaps istio-ca-root-cert in {istio}: chart value rootConfigMap",
    (
        "watch",
        "configmaps istio-ca-root-cert",
    ): "watch configmaps istio-ca-root-cert in {istio}: chart value rootConfigMap",
    (
        "create",
        "configmaps istio-ca-root-cert",
    ): "create configmaps istio-ca-root-cert in {istio}: chart value rootConfigMap",
    (
        "patch",
        "configmaps istio-ca-root-cert",
    ): "patch configmaps istio-ca-root-cert in {istio}: chart value rootConfigMap",
    ("get", "leases"): "get leases.coordination.k8s.io meshca-leader in {istio}: the chart",
    ("update", "leases"): "update leases.coordination.k8s.io meshca-leader in {istio}: the chart",
    ("create", "leases"): "create leases.coordination.k8s.io in {istio}: the chart",
    ("update", "secrets"): "update secrets istiod-tls in {istio}: chart value istiodCertificate.enabled",
    ("create", "secrets"): "create secrets in {istio}: chart value istiodCertificate.enabled",
}


@pytest.mark.parametrize("taken", RIGHTS, ids=" ".join)
async def test_missing_permission(istio: IstioLike, taken: tuple[str, str]) -> None:
    """Each is named by verb, resource and namespace, with the chart's value and a command."""
    istio.without = frozenset({taken})
    await istio.install()
    finding = await only(istio, "permissions")
    assert RIGHTS[taken].format(istio=istio.namespace) in " ".join(finding.mend)
    assert f"--serviceaccount={istio.namespace}:meshca" in finding.mend[0]


async def test_the_command_for_a_permission_names_it_whole(istio: IstioLike) -> None:
    """It can be copied as it stands."""
    istio.without = frozenset({("update", "secrets")})
    await istio.install()
    here = istio.namespace
    (mend,) = (await only(istio, "permissions")).mend
    name, place = "meshca-update-secrets-istiod-tls", f"-n {here}"
    role = f"kubectl create role {name} --verb=update --resource=secrets --resource-name=istiod-tls {place}"
    binding = f"kubectl create rolebinding {name} --role={name} --serviceaccount={here}:meshca {place}"
    assert mend.endswith(f"{role} && {binding}")


# a right of the doctor's own -> the checks that are unknown without it
OWN = {
    ("get", "deployments"): {"istiod-ca-server"},
    ("get", "daemonsets"): {"ztunnel"},
    ("get", "configmaps istio"): {"trust-domain"},
    ("get", "configmaps istio-sidecar-injector"): {"audience", "cluster-id", "ca-address"},
    ("create", "serviceaccounts/token"): {"issuance"},
}


@pytest.mark.parametrize("taken", OWN, ids=" ".join)
async def test_what_the_doctor_may_not_see(istio: IstioLike, taken: tuple[str, str]) -> None:
    """Is unknown, not wrong, and it says how to let it look."""
    istio.without = frozenset({taken})
    await istio.install()
    found = await istio.examined()
    assert not_ok(found) == dict.fromkeys(OWN[taken], "unknown")
    for name in OWN[taken]:
        assert "not allowed to" in found[name].found
        assert "chart value doctor.enabled, or: kubectl create role" in found[name].mend[0]


class TestIstiod:
    """How Istio is set."""

    @pytest.mark.parametrize("value", [None, "true"])
    async def test_still_a_ca(self, istio: IstioLike, value: str | None) -> None:
        """It is one unless told otherwise."""
        await istio.install()
        await istio.istiod(value)
        finding = await only(istio, "istiod-ca-server")
        assert "--set pilot.env.ENABLE_CA_SERVER=false" in finding.mend[0]

    async def test_other_trust_domain(self, istio: IstioLike) -> None:
        """Both are named, and both ways."""
        await istio.install()
        await istio.config_map("istio", "mesh", "trustDomain: prod.example\n")
        finding = await only(istio, "trust-domain")
        assert "meshConfig.trustDomain is prod.example, meshca's trust_domain is cluster.local" in finding.found
        assert "--set meshConfig.trustDomain=cluster.local" in finding.mend[0]

    async def test_other_audience(self, istio: IstioLike) -> None:
        """The key and its whole new value."""
        await istio.install()
        await istio.injector(audience="my-mesh")
        finding = await only(istio, "audience")
        assert finding.mend[0] == "kubernetes.token_review.audiences: [istio-ca, my-mesh] (chart value config)"

    async def test_other_cluster_id(self, istio: IstioLike) -> None:
        """A clusterid that nobody knows is refused, so it is found here."""
        await istio.install()
        await istio.injector(cluster="east")
        assert (await only(istio, "cluster-id")).mend[0].startswith("kubernetes.cluster_ids: [Kubernetes, east]")

    @pytest.mark.parametrize("address", ["", "istiod.{}.svc:15012"])
    async def test_proxies_still_ask_istiod(self, istio: IstioLike, address: str) -> None:
        """With the address to set."""
        await istio.install()
        await istio.injector(address.format(istio.namespace))
        found = await istio.examined(ca_address=None)
        assert found["ca-address"].verdict == "wrong"
        assert f"--set global.caAddress={CA_NAME}:15012" in found["ca-address"].mend[0]

    async def test_no_istiod(self, istio: IstioLike) -> None:
        """Is unknown: it may be elsewhere."""
        await istio.install()
        await istio.cluster.api.delete(f"/apis/apps/v1/namespaces/{istio.namespace}/deployments/istiod")
        assert "--istio-namespace and --revision" in (await only(istio, "istiod-ca-server", "unknown")).mend[0]


class TestIstiodCertificate:
    """The Secret istiod-tls."""

    @pytest.mark.parametrize("fault", ["ended", "another root", "another name", "missing"])
    async def test_fault(self, istio: IstioLike, fault: str) -> None:
        """Each is said."""
        await istio.install()
        service = f"istiod.{istio.namespace}.svc"
        if fault == "ended":
            await istio.secret(serving(istio.ca, service, end=timedelta(hours=-1)))
        elif fault == "another root":
            await istio.secret(serving(root("another"), service))
        elif fault == "another name":
            await istio.secret(serving(istio.ca, "istiod.elsewhere.svc"))
        else:
            await istio.cluster.api.delete(f"/api/v1/namespaces/{istio.namespace}/secrets/istiod-tls")
        said = {
            "ended": "it ended at",
            "another root": "it leads to no published root",
            "another name": f"it is not for {service}",
            "missing": "there is no Secret istiod-tls",
        }
        finding = await only(istio, "istiod-certificate")
        assert said[fault] in finding.found
        assert "meshca makes and renews it" in finding.mend[0]

    async def test_not_ours_to_make(self, istio: IstioLike) -> None:
        """Where it is not switched on, the switch is named."""
        await istio.install()
        istio.write_config(istiod_certificate={"enabled": False})
        await istio.cluster.api.delete(f"/api/v1/namespaces/{istio.namespace}/secrets/istiod-tls")
        assert "kubernetes.istiod_certificate.enabled: true" in (await only(istio, "istiod-certificate")).mend[0]


class TestZtunnel:
    """The node proxy."""

    async def test_not_trusted(self, istio: IstioLike) -> None:
        """With the line to add."""
        await istio.install()
        istio.write_config(trusted_node_accounts=["kube-system/ztunnel"])
        finding = await only(istio, "ztunnel")
        assert finding.mend[0].startswith(f"kubernetes.trusted_node_accounts: [{istio.namespace}/ztunnel]")

    async def test_none(self, istio: IstioLike) -> None:
        """Nothing to trust."""
        await istio.install()
        await istio.cluster.api.delete(f"/apis/apps/v1/namespaces/{istio.namespace}/daemonsets/ztunnel")
        istio.write_config(trusted_node_accounts=[])
        assert not_ok(await istio.examined()) == {}


class TestIssuance:
    """A real certificate."""

    async def test_unbound_token(self, istio: IstioLike) -> None:
        """What the refusal means, and how to see more."""
        istio.bound = False
        await istio.install()
        finding = await only(istio, "issuance", "unknown")
        assert "the token was believed, and then refused because no pod holds it" in finding.found
        assert f"kubectl -n {istio.namespace} exec" in finding.mend[0]

    async def test_token_for_somebody_else(self, istio: IstioLike) -> None:
        """A server of other audiences than the file says does not believe it."""
        await istio.install()
        istio.write_config(token_review={"audiences": ["my-mesh", "istio-ca"]})
        finding = await only(istio, "issuance")
        assert "UNAUTHENTICATED" in finding.found


async def test_api_server_gone(istio: IstioLike) -> None:
    """One fault, and what needs it is unknown."""
    await istio.install()
    assert istio.account is not None
    with way_to(istio.account.kubeconfig) as way:
        way.cut()
        found = await istio.examined()
    assert [name for name, finding in found.items() if finding.verdict == "wrong"] == ["api-server"]
    assert "cannot be reached" in found["api-server"].found
    assert str(istio.account.kubeconfig) in found["api-server"].mend[0]


async def test_our_own_credentials_are_not_accepted(istio: IstioLike) -> None:
    """A bad token of ours is said as that."""
    await istio.install()
    assert istio.account is not None
    istio.account.token_file.write_text("nonsense")
    found = await istio.examined()
    assert "our own credentials are not accepted" in found["api-server"].found
