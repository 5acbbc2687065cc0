"""A node proxy of a real cluster asks for the workloads on its node, through a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from google.protobuf.struct_pb2 import Struct

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca.admission.parse import shipped_text
from tests.e2e.kube.cluster import TestCluster, open_cluster, until
from tests.e2e.kube.proving import in_ledger
from tests.e2e.kube.serve import RULES, serving_cluster
from tests.e2e.kube.way import way_to
from tests.real.dev_server import Certificate, Key, Server, reason, refused

pytestmark = pytest.mark.real("kubernetes")
PROXY = "ztunnel"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server that trusts the account `ztunnel` of one namespace, and its rule file."""

    server: Server
    proxies: str
    rules: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With the shipped rules to begin with."""
    folder = tmp_path_factory.mktemp("ca")
    rules = folder / "rules.yaml"
    rules.write_text(shipped_text())
    with asyncio.Runner() as runner:
        opened = open_cluster()
        cluster = runner.run(opened.__aenter__())
        proxies = runner.run(cluster.namespace())
        account = runner.run(cluster.account(folder, proxies, "meshca", cluster_rules=RULES))
        section = {"kubeconfig": str(account.kubeconfig), "trusted_node_accounts": [f"{proxies}/{PROXY}"]}
        with serving_cluster(folder / "ca", section, admission={"file": str(rules)}) as server:
            yield Served(server=server, proxies=proxies, rules=rules)
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture
async def namespace(cluster: TestCluster) -> str:
    """A namespace of the test's own, whose workloads no other test has."""
    return await cluster.namespace()


@pytest.fixture
async def node(namespace: str) -> str:
    """A node of the test's own."""
    return f"node-{namespace}"


@pytest.fixture
async def token(served: Served, cluster: TestCluster, node: str) -> str:
    """The token of the proxy on that node."""
    pod = await cluster.pod(served.proxies, PROXY, node=node)
    return await cluster.token(served.proxies, PROXY, pod=pod)


def identity(namespace: str, account: str = "web") -> str:
    """A workload's identity."""
    return f"spiffe://cluster.local/ns/{namespace}/sa/{account}"


async def ask(
    server: Server, wanted: str, *, token: str | None = None, shown: Certificate | None = None, cluster: str = ""
) -> Certificate:
    """A certificate for somebody else, as ztunnel asks for it."""
    key, metadata = Key(), Struct()
    metadata.update({"ImpersonatedIdentity": wanted})
    request = IstioCertificateRequest(csr=key.csr, metadata=metadata)
    headers = [("clusterid", cluster)] if cluster else []
    return Certificate(key=key, answer=await server.call(request, token=token, shown=shown, metadata=headers))


async def why(call: Any) -> str:
    """The reason of a refusal, which is Unauthenticated and says no more than that."""
    error = await refused(call)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    opaque = r"the caller could not be authenticated \(reason=[a-z_]+ request_id=[0-9a-f-]+\)"
    assert re.fullmatch(opaque, error.details() or "")
    return reason(error)


async def test_a_workload_on_the_node(
    served: Served, cluster: TestCluster, namespace: str, node: str, token: str
) -> None:
    """It is issued with the workload's identity; the ledger has its pod and labels, the node, and who asked."""
    pod = await cluster.pod(namespace, node=node, labels={"app": "web"})
    certificate = await ask(served.server, identity(namespace), token=token, cluster="Kubernetes")
    assert certificate.spiffe_id == identity(namespace)
    record = in_ledger(served.server, certificate)
    expected = {
        "proven_by": "node_proxy",
        "requested_by": f"{served.proxies}/{PROXY}",
        "issuer": "home",
        "namespace": namespace,
        "service_account": "web",
        "pod_uid": pod["metadata"]["uid"],
        "node_name": node,
        "labels": {"app": "web"},
    }
    assert {key: record[key] for key in expected} == expected


async def test_a_pod_of_this_instant(
    served: Served, cluster: TestCluster, namespace: str, node: str, token: str
) -> None:
    """A workload that was scheduled just now is issued at once, ten times out of ten, though a watch lags."""
    for number in range(10):
        await cluster.pod(namespace, f"web-{number}", node=node, phase="Pending")
        wanted = identity(namespace, f"web-{number}")
        assert (await ask(served.server, wanted, token=token)).spiffe_id == wanted


async def test_its_own_identity(served: Served, token: str) -> None:
    """The proxy's own certificate is issued as to anybody."""
    assert (await served.server.create(token)).spiffe_id == identity(served.proxies, PROXY)


class TestRefused:
    """Every rule, on real pods."""

    async def test_no_such_workload(self, served: Served, namespace: str, token: str) -> None:
        """No pod of the account anywhere."""
        assert await why(ask(served.server, identity(namespace), token=token)) == "workload_not_on_node"

    async def test_on_another_node(self, served: Served, cluster: TestCluster, namespace: str, token: str) -> None:
        """A pod of the account elsewhere does not count."""
        await cluster.pod(namespace, node=f"other-{namespace}")
        assert await why(ask(served.server, identity(namespace), token=token)) == "workload_not_on_node"

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    async def test_finished(
        self, served: Served, cluster: TestCluster, namespace: str, node: str, token: str, phase: str
    ) -> None:
        """When the last pod of the account on the node has finished, nothing more is issued for it."""
        pod = await cluster.pod(namespace, node=node)
        await ask(served.server, identity(namespace), token=token)
        await cluster.phase(pod, phase)
        await until(lambda: is_refused(served, identity(namespace), token))

    async def test_removed(
        self, served: Served, cluster: TestCluster, namespace: str, node: str, token: str
    ) -> None:
        """When it is gone neither."""
        pod = await cluster.pod(namespace, node=node)
        await ask(served.server, identity(namespace), token=token)
        await cluster.delete_pod(pod)
        await until(lambda: is_refused(served, identity(namespace), token))

    async def test_an_account_that_is_not_trusted(
        self, served: Served, cluster: TestCluster, namespace: str, node: str
    ) -> None:
        """A proxy of the same name in another namespace, and a workload that asks for its neighbour."""
        await cluster.pod(namespace, "api", node=node)
        for account in (PROXY, "web"):
            pod = await cluster.pod(namespace, account, node=node)
            token = await cluster.token(namespace, account, pod=pod)
            assert await why(ask(served.server, identity(namespace, "api"), token=token)) == "node_proxy_account"

    async def test_a_token_of_no_pod(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """Without a pod the proxy is on no node."""
        await cluster.service_account(served.proxies, PROXY)
        token = await cluster.token(served.proxies, PROXY)
        assert await why(ask(served.server, identity(namespace), token=token)) == "node_proxy_proof"

    async def test_by_certificate(
        self, served: Served, cluster: TestCluster, namespace: str, node: str, token: str
    ) -> None:
        """The proxy's own certificate does not say on which node it is now."""
        await cluster.pod(namespace, node=node)
        own = await served.server.create(token)
        assert await why(ask(served.server, identity(namespace), shown=own)) == "node_proxy_proof"

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ("spiffe://other.example/ns/{}/sa/web", "impersonated_trust_domain"),
            ("spiffe://cluster.local/ns/{}/sa/web,spiffe://other.example/x", "impersonated_identity"),
            ("spiffe:///ns/{}/sa/web", "impersonated_identity"),
            ("{}/web", "impersonated_identity"),
        ],
    )
    async def test_what_is_asked_for(
        self,
        served: Served,
        cluster: TestCluster,
        namespace: str,
        node: str,
        token: str,
        wanted: str,
        expected: str,
    ) -> None:
        """Only an identity of our own trust domain, spelled in the one way, though the pod is there."""
        await cluster.pod(namespace, node=node)
        assert await why(ask(served.server, wanted.format(namespace), token=token)) == expected

    async def test_an_unknown_cluster(self, served: Served, namespace: str, token: str) -> None:
        """The header decides who is asked about the proxy itself."""
        asked = ask(served.server, identity(namespace), token=token, cluster="nowhere")
        assert await why(asked) == "unknown_cluster"


async def is_refused(served: Served, wanted: str, token: str) -> bool:
    """Whether the server refuses now; anything but this one reason is a fault."""
    try:
        await ask(served.server, wanted, token=token)
    except grpc.aio.AioRpcError as error:
        assert reason(error) == "workload_not_on_node"  # noqa: PT017 - nothing else may be
        return True
    return False


async def test_a_certificate_that_a_proxy_holds(
    served: Served, cluster: TestCluster, namespace: str, node: str, token: str
) -> None:
    """It renews nothing on the mTLS port, neither its own identity nor another; the proxy's token goes on to."""
    await cluster.pod(namespace, node=node)
    held = await ask(served.server, identity(namespace), token=token)
    assert await why(served.server.create(shown=held)) == "held_by_node_proxy"
    assert await why(ask(served.server, identity(namespace), shown=held)) == "held_by_node_proxy"
    again = await ask(served.server, identity(namespace), token=token)
    assert again.leaf.serial_number != held.leaf.serial_number


@pytest.mark.parametrize("who", ["workload", "proxy", "all proxies"])
async def test_the_emergency_brake(
    served: Served, cluster: TestCluster, namespace: str, node: str, token: str, who: str
) -> None:
    """A rule that refuses the workload, its proxy, or all that proxies ask for, stops it while it is there."""
    await cluster.pod(namespace, node=node)
    match = {
        "workload": {"identities": [identity(namespace)]},
        "proxy": {"namespaces": [served.proxies], "service_accounts": [PROXY]},
        "all proxies": {"proven_by": ["node_proxy"]},
    }[who]
    tree = yaml.safe_load(shipped_text())
    tree["rules"].append({"name": "brake", "effect": "refuse", "match": match})

    async def answer() -> str:
        try:
            await ask(served.server, identity(namespace), token=token)
        except grpc.aio.AioRpcError as error:
            return reason(error)
        return "issued"

    async def is_stopped() -> bool:
        return await answer() == "refused_by_rule"

    async def is_issued() -> bool:
        return await answer() == "issued"

    served.rules.write_text(yaml.safe_dump(tree))
    try:
        await until(is_stopped)
    finally:
        served.rules.write_text(shipped_text())
    await until(is_issued)


async def test_without_trusted_accounts(cluster: TestCluster, namespace: str, node: str, tmp_path: Path) -> None:
    """A server that trusts none says so, whoever asks."""
    pod = await cluster.pod(namespace, PROXY, node=node)
    token = await cluster.token(namespace, PROXY, pod=pod)
    account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES)
    with serving_cluster(tmp_path / "ca", {"kubeconfig": str(account.kubeconfig)}) as server:
        error = await refused(ask(server, identity(namespace), token=token))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "kubernetes.trusted_node_accounts" in (error.details() or "")


async def test_while_the_cluster_is_away(cluster: TestCluster, namespace: str, node: str, tmp_path: Path) -> None:
    """A proxy whose review still holds is not believed on the word of an old watch; it may try again."""
    await cluster.pod(namespace, node=node)
    pod = await cluster.pod(namespace, PROXY, node=node)
    token = await cluster.token(namespace, PROXY, pod=pod)
    account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES)
    with way_to(account.kubeconfig) as way:
        section = {
            "kubeconfig": str(account.kubeconfig),
            "trusted_node_accounts": [f"{namespace}/{PROXY}"],
            "timeout": "1s",
        }
        with serving_cluster(tmp_path / "ca", section) as server:
            await ask(server, identity(namespace), token=token)
            way.cut()
            error = await refused(ask(server, identity(namespace), token=token))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            way.mend()
