"""While a permission is missing or the API server is out of reach callers may try again; who renews goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.kube.cluster import TestCluster, until
from tests.e2e.kube.proving import serve, why_refused
from tests.e2e.kube.serve import PODS, REVIEWS, RULES, serving_cluster
from tests.e2e.kube.way import way_to
from tests.real.dev_server import Server

pytestmark = pytest.mark.real("kubernetes")


class TestPermissions:
    """A permission that is missing is the administrator's to grant, not the caller's fault."""

    async def test_to_review(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """Callers may try again; the log names verb and resource."""
        token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
        with await serve(cluster, tmp_path, PODS) as server:
            assert await why_refused(server, token) == ("UNAVAILABLE", "kube_forbidden")
            named = "create tokenreviews.authentication.k8s.io: forbidden; grant this verb"
            await until(lambda: any(named in line["detail"] for line in decisions(server)))

    async def test_to_see_pods(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """The server is not ready, and says which verb and resource it lacks."""
        token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
        with await serve(cluster, tmp_path, REVIEWS, reached=False) as server:
            assert await why_refused(server, token) == ("UNAVAILABLE", "kube_forbidden")
            named = f"get pods in {namespace}: forbidden; grant this verb"
            await until(lambda: any(named in line["detail"] for line in decisions(server)))
            code, page = server.http("/readyz")
            assert (code, "pods: forbidden; grant this verb" in page) == (503, True)

    async def test_to_get_a_pod(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """Is needed for what the watch does not know; the others go on without."""
        token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
        with await serve(cluster, tmp_path, REVIEWS, {**PODS, "verbs": ["list", "watch"]}) as server:
            await server.create(token)

    async def test_our_own_token(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """It is read anew: a bad one is said to be ours, and its successor is used at once."""
        token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
        home = await cluster.namespace()
        account = await cluster.account(tmp_path, home, "meshca", cluster_rules=RULES)
        section = {"kubeconfig": str(account.kubeconfig), "token_review": {"cache": "0s"}}
        with serving_cluster(tmp_path / "ca", section) as server:
            await server.create(token)
            account.token_file.write_text("revoked")
            assert await why_refused(server, token) == ("UNAVAILABLE", "kube_forbidden")
            await until(lambda: any("our own credentials" in line["detail"] for line in decisions(server)))
            account.token_file.write_text(await cluster.token(home, "meshca", audiences=(), seconds=7200))
            await server.create(token)


class TestOutage:
    """The API server is out of reach, or slow."""

    async def test_at_the_start(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """The server starts and is not ready, callers with a token wait, and it finds the API server by itself."""
        token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
        account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES)
        with way_to(account.kubeconfig) as way:
            way.cut()
            section = {"kubeconfig": str(account.kubeconfig)}
            with serving_cluster(tmp_path / "ca", section, reached=False) as server:
                assert await why_refused(server, token) == ("UNAVAILABLE", "kube_unreachable")
                code, page = server.http("/readyz")
                assert (code, "home was not reached yet" in page) == (503, True)
                way.mend()
                await until(lambda: is_issued(server, token), 60)
                await until(lambda: server.http("/readyz")[0] == 200)

    async def test_later(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """Renewal by certificate goes on; tokens are Unavailable, soon without a question, and good again."""
        pod = await cluster.pod(namespace)
        held_token = await cluster.token(namespace, "web", pod=pod)
        account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES)
        with (
            way_to(account.kubeconfig) as way,
            serving_cluster(tmp_path / "ca", {"kubeconfig": str(account.kubeconfig)}) as server,
        ):
            held = await server.create(held_token)
            token = await cluster.token(namespace, "web", pod=pod)
            way.cut()
            reasons = [await why_refused(server, token) for _ in range(6)]
            assert reasons == [("UNAVAILABLE", "kube_unreachable")] * 5 + [("UNAVAILABLE", "review_paused")]
            assert (await server.create(shown=held)).spiffe_id == held.spiffe_id
            assert server.metric('meshca_token_reviews_paused{cluster="home"}') == 1
            assert server.http("/readyz")[0] == 200
            way.mend()
            await until(lambda: is_issued(server, token), 60)
            assert server.metric('meshca_token_reviews_paused{cluster="home"}') == 0

    async def test_silence(self, cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
        """Is given up after the timeout; renewal does not wait for it."""
        pod = await cluster.pod(namespace)
        held_token = await cluster.token(namespace, "web", pod=pod)
        account = await cluster.account(tmp_path, namespace, "meshca", cluster_rules=RULES)
        section = {"kubeconfig": str(account.kubeconfig), "timeout": "1s"}
        with way_to(account.kubeconfig) as way, serving_cluster(tmp_path / "ca", section) as server:
            held = await server.create(held_token)
            token = await cluster.token(namespace, "web", pod=pod)
            way.block()
            asking = asyncio.create_task(why_refused(server, token))
            assert (await server.create(shown=held)).spiffe_id == held.spiffe_id
            assert await asking == ("UNAVAILABLE", "kube_unreachable")
            await until(lambda: any("did not answer in time" in line["detail"] for line in decisions(server)))
            way.mend()
            await until(lambda: is_issued(server, token), 60)


async def is_issued(server: Server, token: str) -> bool:
    """Whether this token is issued a certificate now."""
    try:
        await server.create(token)
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - anything else would be wrong
        return False
    return True


def decisions(server: Server) -> list[dict[str, Any]]:
    """The audit events of requests that failed."""
    return [line for line in server.log() if line["event"] == "issuance.decided" and "detail" in line]
