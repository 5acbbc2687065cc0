"""Callers proven by a real cluster: every kind of token, in each mode, through a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
import pytest

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from tests.e2e.kube.cluster import TestCluster, kubeconfig, open_cluster, until
from tests.e2e.kube.proving import in_ledger, serve, why_refused
from tests.e2e.kube.serve import RULES
from tests.real.dev_server import Key, Server, reason

pytestmark = pytest.mark.real("kubernetes")
MODES = ("review", "local", "pods")


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server in one mode."""

    mode: str
    server: Server


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in each mode, with the shipped admission rules."""
    folder, mode = tmp_path_factory.mktemp(request.param), request.param
    with asyncio.Runner() as runner:
        opened = open_cluster()
        cluster = runner.run(opened.__aenter__())
        with runner.run(serve(cluster, folder, *RULES, token_review={"mode": mode})) as server:
            yield Served(mode=mode, server=server)
        runner.run(opened.__aexit__(None, None, None))


def payload(token: str) -> dict[str, Any]:
    """The claims of a token."""
    segment = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return found


def signed(token: str, **changes: Any) -> str:
    """The token with other claims, signed by the cluster's own key."""
    key = kubeconfig().parent / "sa.key"
    if not key.exists():
        pytest.skip("the key of this cluster is not ours")
    header = jwt.get_unverified_header(token)
    claims = {**payload(token), **changes}
    return jwt.encode(claims, key.read_text(), header["alg"], headers={"kid": header["kid"], "typ": None})


async def until_refused(server: Server, token: str) -> tuple[str, str]:
    """The same, once the server's watch has seen what was done."""
    found: list[tuple[str, str]] = []

    async def is_refused() -> bool:
        try:
            await server.create(token)
        except grpc.aio.AioRpcError as error:
            found.append((error.code().name, reason(error)))
        return bool(found)

    await until(is_refused)
    return found[0]


def by_mode(served: Served, review: str, local: str, pods: str) -> tuple[str, str]:
    """Unauthenticated, for the reason of this mode."""
    return "UNAUTHENTICATED", {"review": review, "local": local, "pods": pods}[served.mode]


class TestTokens:
    """Every kind of token, and what each mode sees of it."""

    async def test_good(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """Is issued its identity; the ledger has pod, node, token id and the pod's labels."""
        pod = await cluster.pod(namespace, "web", labels={"app": "web"})
        node = await cluster.node()
        token = await cluster.token(namespace, "web", pod=pod)
        certificate = await served.server.create(token)
        assert certificate.spiffe_id == f"spiffe://cluster.local/ns/{namespace}/sa/web"
        record = in_ledger(served.server, certificate)
        expected = {
            "proven_by": "token_review",
            "issuer": "home",
            "rule": "own-identity-of-a-pod",
            "pod_name": pod["metadata"]["name"],
            "pod_uid": pod["metadata"]["uid"],
            "node_name": node["metadata"]["name"],
            "node_uid": node["metadata"]["uid"],
            "token_id": payload(token)["jti"],
            "labels": {"app": "web"},
        }
        assert {key: record[key] for key in expected} == expected

    async def test_expired(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """Its end is past, by more than clocks may differ."""
        pod = await cluster.pod(namespace)
        now = int(time.time())
        token = signed(
            await cluster.token(namespace, "web", pod=pod), iat=now - 7200, nbf=now - 7200, exp=now - 90
        )
        assert await why_refused(served.server, token) == ("UNAUTHENTICATED", "token_expired")

    async def test_wrong_audience(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """It is for somebody else."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod, audiences=("other",))
        expected = by_mode(served, "token_refused", "token_audience", "token_audience")
        assert await why_refused(served.server, token) == expected

    async def test_for_the_api_server(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """A pod's default token is for the API server, not for us."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod, audiences=())
        expected = by_mode(served, "token_refused", "token_audience", "token_audience")
        assert await why_refused(served.server, token) == expected

    async def test_garbage(self, served: Served) -> None:
        """It is no token."""
        assert await why_refused(served.server, "garbage") == ("UNAUTHENTICATED", "token_malformed")

    async def test_forged(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """A good one with another's signature."""
        pod = await cluster.pod(namespace)
        head, _, _ = (await cluster.token(namespace, "web", pod=pod)).rpartition(".")
        forged = f"{head}.{'A' * 86}"
        expected = by_mode(served, "token_refused", "token_signature", "token_signature")
        assert await why_refused(served.server, forged) == expected

    async def test_of_another_issuer(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """Signed by the same key under another name."""
        pod = await cluster.pod(namespace)
        token = signed(await cluster.token(namespace, "web", pod=pod), iss="https://other.example")
        expected = by_mode(served, "token_refused", "token_refused", "token_issuer")
        assert await why_refused(served.server, token) == expected

    async def test_of_a_pod_that_was_deleted(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """A token that was never used before."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod)
        await cluster.delete_pod(pod)
        expected = by_mode(served, "token_refused", "token_refused", "pod_unknown")
        assert await until_refused(served.server, token) == expected

    async def test_of_a_pod_that_is_deleted_now(
        self, served: Served, cluster: TestCluster, namespace: str
    ) -> None:
        """A review that is remembered does not help: the pod is looked at each time."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod)
        await served.server.create(token)
        await cluster.delete_pod(pod)
        assert await until_refused(served.server, token) == ("UNAUTHENTICATED", "pod_unknown")

    async def test_of_a_pods_predecessor(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """The pod that has the name now is another one."""
        pod = await cluster.pod(namespace, name="web-0")
        token = await cluster.token(namespace, "web", pod=pod)
        await served.server.create(token)
        await cluster.delete_pod(pod)
        await cluster.pod(namespace, name="web-0")
        assert await until_refused(served.server, token) == ("UNAUTHENTICATED", "pod_unknown")

    @pytest.mark.parametrize("again", [False, True], ids=["deleted", "re-created"])
    async def test_of_an_account_that_is_gone(
        self, served: Served, cluster: TestCluster, namespace: str, *, again: bool
    ) -> None:
        """The API server knows; whoever looks at the pod alone does not."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod)
        await cluster.api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/web")
        if again:
            await cluster.service_account(namespace, "web")
        if served.mode == "pods":
            assert (await served.server.create(token)).spiffe_id.endswith("/sa/web")
        else:
            assert await until_refused(served.server, token) == ("UNAUTHENTICATED", "token_refused")

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    async def test_of_a_pod_that_has_finished(
        self, served: Served, cluster: TestCluster, namespace: str, phase: str
    ) -> None:
        """Its token is good for the API server until the pod is deleted, but not for us."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod)
        await cluster.phase(pod, phase)
        assert await until_refused(served.server, token) == ("UNAUTHENTICATED", "pod_finished")

    async def test_bound_to_no_pod(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """Proves its account, which the shipped rules grant nothing; mode pods sees nothing of it."""
        await cluster.service_account(namespace, "web")
        token = await cluster.token(namespace, "web")
        bound = ("PERMISSION_DENIED", "no_rule")
        expected = ("UNAUTHENTICATED", "token_unbound") if served.mode == "pods" else bound
        assert await why_refused(served.server, token) == expected

    async def test_of_a_pod_made_this_instant(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """What the watch does not know yet is asked for."""
        for _ in range(5):
            pod = await cluster.pod(namespace)
            token = await cluster.token(namespace, "web", pod=pod)
            assert (await served.server.create(token)).spiffe_id.endswith("/sa/web")

    async def test_with_an_unknown_cluster(self, served: Served, cluster: TestCluster, namespace: str) -> None:
        """The header `clusterid` names nobody."""
        pod = await cluster.pod(namespace)
        token = await cluster.token(namespace, "web", pod=pod)
        for header, code in (("Kubernetes", "OK"), ("home", "OK"), ("west", "UNAUTHENTICATED")):
            assert await status(served.server, token, header) == code


async def status(server: Server, token: str, cluster: str) -> str:
    """The status of a call with this `clusterid`."""
    try:
        request = IstioCertificateRequest(csr=Key().csr)
        await server.call(request, token=token, metadata=(("clusterid", cluster),))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"
