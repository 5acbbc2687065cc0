"""A second cluster that comes, changes, goes and dies while the server runs; both are real."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from tests.e2e.kube.cluster import TestCluster, open_cluster, until
from tests.e2e.kube.control_plane import ControlPlane, running_control_plane
from tests.e2e.kube.proving import in_ledger, meshca
from tests.e2e.kube.serve import RULES, serving_cluster
from tests.e2e.kube.test_node_proxy import ask, identity
from tests.real.dev_server import Certificate, Key, Server, reason, refused

pytestmark = pytest.mark.real("kubernetes")
LABEL = {"istio/multiCluster": "true"}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list", "watch"]}
PARTNER = "partner"
EXAMPLE = Path(__file__).parents[3] / "policies" / "admission" / "remote-cluster.yaml"
PROXY = "ztunnel"


@dataclass(kw_only=True)
class Mesh:
    """A server at home and a remote cluster.

    Attributes:
        home: the home cluster.
        west: the other one.
        plane: of the other one.
        server: knows none but home at first; its rules are those of policies/admission/remote-cluster.yaml.
        namespace: where the server runs, and looks for Secrets.
        kubeconfig: inline, of an account in the other cluster that may review tokens and read pods.
        made: Secrets.
    """

    home: TestCluster
    west: TestCluster
    plane: ControlPlane
    server: Server
    namespace: str
    kubeconfig: str
    made: set[str] = field(default_factory=set)

    @property
    def secrets(self) -> str:
        """The path of Secrets."""
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    async def tell(self, name: str, **kubeconfigs: str) -> None:
        """Make or replace a Secret."""
        data = {key: base64.b64encode(text.encode()).decode() for key, text in kubeconfigs.items()}
        metadata = {"name": name, "labels": LABEL}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        await self.home.api.apply(f"{self.secrets}/{name}", body, manager="tests", force=True)
        self.made.add(name)

    async def forget(self, name: str) -> None:
        """Remove a Secret."""
        await self.home.api.delete(f"{self.secrets}/{name}")
        self.made.discard(name)

    async def pod_token(self, cluster: TestCluster, namespace: str, account: str = "web", **pod: Any) -> str:
        """The token of a new pod."""
        made = await cluster.pod(namespace, account, **pod)
        return await cluster.token(namespace, account, pod=made)

    async def create(self, token: str, cluster_id: str) -> Certificate:
        """A certificate for whom a cluster proves."""
        key, headers = Key(), [("clusterid", cluster_id)] if cluster_id else []
        request = IstioCertificateRequest(csr=key.csr)
        return Certificate(key=key, answer=await self.server.call(request, token=token, metadata=headers))

    async def answer(self, token: str, cluster_id: str) -> str:
        """`issued`, or the reason of the refusal."""
        try:
            await self.create(token, cluster_id)
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return "issued"

    async def until_answer(self, expected: str, token: str, cluster_id: str) -> None:
        """Return once the server answers so."""

        async def holds() -> bool:
            return await self.answer(token, cluster_id) == expected

        await until(holds)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """For what lives as long as the module."""
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def opened(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The control plane, its account, and the server: what a mesh is made of."""
    folder = tmp_path_factory.mktemp("mesh")
    (folder / "plane").mkdir()
    with running_control_plane(folder / "plane") as plane:
        kubeconfig = runner.run(_remote_kubeconfig(plane, folder))
        clusters = open_cluster()
        home = runner.run(clusters.__aenter__())
        namespace = runner.run(home.namespace())
        account = runner.run(
            home.account(folder, namespace, "meshca", cluster_rules=RULES, rules={namespace: [SECRETS]})
        )
        section = {
            "kubeconfig": str(account.kubeconfig),
            "namespace": namespace,
            "trusted_node_accounts": [f"{PARTNER}-proxies/{PROXY}"],
            "remote_clusters": {"enabled": True},
            "timeout": "1s",
            "token_review": {"cache": "0s"},
        }
        rules = {"file": str(EXAMPLE)}
        with serving_cluster(folder / "ca", section, admission=rules) as server:
            yield {"plane": plane, "server": server, "namespace": namespace, "kubeconfig": kubeconfig}
        runner.run(clusters.__aexit__(None, None, None))


async def _remote_kubeconfig(plane: ControlPlane, folder: Path) -> str:
    async with open_cluster(plane.kubeconfig) as west:
        await west.api.apply("/api/v1/namespaces/meshca", _namespace("meshca"), manager="tests")
        for name in (f"{PARTNER}-a", f"{PARTNER}-proxies", "shop"):
            await west.api.apply(f"/api/v1/namespaces/{name}", _namespace(name), manager="tests")
        account = await west.account(folder, "meshca", "meshca-reader", cluster_rules=RULES)
        west._made.clear()
    return inline(account.kubeconfig.read_text(), account.token_file.read_text())


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def inline(kubeconfig: str, token: str) -> str:
    """The same without files, as a Secret has it."""
    tree = yaml.safe_load(kubeconfig)
    cluster = tree["clusters"][0]["cluster"]
    ca = Path(cluster.pop("certificate-authority")).read_bytes()
    cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    tree["users"][0]["user"] = {"token": token}
    return str(yaml.safe_dump(tree))


@pytest.fixture
async def mesh(cluster: TestCluster, opened: dict[str, Any]) -> AsyncIterator[Mesh]:
    """Without any Secret."""
    async with open_cluster(opened["plane"].kubeconfig) as west:
        mesh = Mesh(home=cluster, west=west, **opened)
        yield mesh
        for name in list(mesh.made):
            with contextlib.suppress(Exception):
                await mesh.forget(name)


async def test_added_and_removed(mesh: Mesh) -> None:
    """Its workloads are unknown, then issued what the rules say, then unknown again; the ledger names it."""
    token = await mesh.pod_token(mesh.west, f"{PARTNER}-a")
    assert await mesh.answer(token, "west") == "unknown_cluster"
    await mesh.tell("one", west=mesh.kubeconfig)
    await mesh.until_answer("issued", token, "west")
    certificate = await mesh.create(token, "west")
    assert certificate.spiffe_id == identity(f"{PARTNER}-a")
    record = in_ledger(mesh.server, certificate)
    assert (record["issuer"], record["rule"]) == ("west", "west-has-the-partners")
    await mesh.forget("one")
    await mesh.until_answer("unknown_cluster", token, "west")


async def test_it_cannot_mint_the_others_workloads(mesh: Mesh) -> None:
    """Namespaces that no rule gives it are denied, though it has a namespace of that name."""
    await mesh.tell("one", west=mesh.kubeconfig)
    await mesh.until_answer("no_rule", await mesh.pod_token(mesh.west, "shop"), "west")


async def test_each_speaks_through_its_own_api_server(mesh: Mesh) -> None:
    """A token of one cluster is nothing in another, whatever the header says."""
    await mesh.tell("one", west=mesh.kubeconfig)
    theirs = await mesh.pod_token(mesh.west, f"{PARTNER}-a")
    ours = await mesh.pod_token(mesh.home, await mesh.home.namespace())
    await mesh.until_answer("issued", theirs, "west")
    for cluster_id in ("", "home", "Kubernetes"):
        assert await mesh.answer(theirs, cluster_id) == "token_refused"
        assert await mesh.answer(ours, cluster_id) == "issued"
    assert await mesh.answer(ours, "west") == "token_refused"


@pytest.mark.parametrize("name", ["home", "Kubernetes"])
async def test_no_cluster_takes_the_name_of_home(mesh: Mesh, name: str) -> None:
    """Such a Secret is reported, and changes nothing for anybody."""
    await mesh.tell("bad", **{name: mesh.kubeconfig}, west=mesh.kubeconfig)
    theirs = await mesh.pod_token(mesh.west, f"{PARTNER}-a")
    await mesh.until_answer("issued", theirs, "west")
    assert await mesh.answer(theirs, name) == "token_refused"
    await until(lambda: f"cluster {name} refused: this name means the home cluster" in status(mesh.server))


async def test_a_bad_kubeconfig_beside_a_good_one(mesh: Mesh) -> None:
    """It is reported; its callers may try again; mended while running, it is followed."""
    await mesh.tell("two", east="{", west=mesh.kubeconfig)
    theirs = await mesh.pod_token(mesh.west, f"{PARTNER}-a")
    await mesh.until_answer("issued", theirs, "west")
    assert await mesh.answer(theirs, "east") == "cluster"
    await until(lambda: "cluster east refused: is no kubeconfig" in status(mesh.server))
    await until(lambda: mesh.server.metric('meshca_kubernetes_clusters{state="refused"}') == 1)
    await mesh.tell("two", east=mesh.kubeconfig, west=mesh.kubeconfig)
    await mesh.until_answer("no_rule", theirs, "east")


async def test_a_proxy_sees_its_own_clusters_pods(mesh: Mesh) -> None:
    """Rules may let a remote node proxy ask; by the example they do not; another cluster's pods never count."""
    await mesh.tell("one", west=mesh.kubeconfig)
    node = "node-of-both"
    proxy = await mesh.pod_token(mesh.west, f"{PARTNER}-proxies", PROXY, node=node)
    await mesh.until_answer("issued", proxy, "west")
    namespace = await mesh.home.namespace()
    await mesh.home.pod(namespace, node=node)
    error = await refused(ask(mesh.server, identity(namespace), token=proxy, cluster="west"))
    assert reason(error) == "workload_not_on_node"
    await mesh.west.pod(f"{PARTNER}-a", node=node)
    error = await refused(ask(mesh.server, identity(f"{PARTNER}-a"), token=proxy, cluster="west"))
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "refused_by_rule")


async def test_killed(mesh: Mesh, tmp_path: Path) -> None:
    """A dead cluster is reported and its callers are told to try again; nobody else notices."""
    with running_control_plane(tmp_path) as plane:
        kubeconfig = await _remote_kubeconfig(plane, tmp_path)
        await mesh.tell("one", west=mesh.kubeconfig)
        await mesh.tell("two", east=kubeconfig)
        async with open_cluster(plane.kubeconfig) as east:
            doomed = await mesh.pod_token(east, f"{PARTNER}-a")
        await mesh.until_answer("no_rule", doomed, "east")
        theirs = await mesh.pod_token(mesh.west, f"{PARTNER}-a")
        ours = await mesh.pod_token(mesh.home, await mesh.home.namespace())
        await mesh.until_answer("issued", theirs, "west")
        plane.processes[-2].send_signal(signal.SIGKILL)
        plane.processes[-2].wait()
        error = await refused(mesh.create(doomed, "east"))
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "kube_unreachable")
        assert await mesh.answer(theirs, "west") == "issued"
        assert await mesh.answer(ours, "") == "issued"
        await until(lambda: "cluster east failing: east: the API server cannot be reached" in status(mesh.server))
        assert mesh.server.http("/readyz")[0] == 200
        failed = [line for line in mesh.server.log() if line["event"] == "kube.watch_failed"]
        assert {line["cluster"] for line in failed} == {"east"}
        await mesh.forget("two")
        await mesh.until_answer("unknown_cluster", doomed, "east")


def status(server: Server) -> str:
    """What the administrator sees, on one line."""
    return " ".join(meshca(server, "status").split())
