"""Callers proven by a real cluster: every kind of token, in each mode, through a real server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from meshca._proto.istio.v1.auth.ca_pb2 import IstioCertificateRequest
from meshca._proto.istio.v1.auth.ca_pb2_grpc import IstioCertificateServiceStub
from tests.e2e.kube.cluster import TestCluster, kubeconfig, open_cluster, until
from tests.e2e.kube.serve import PODS, REVIEWS, RULES, serving_cluster
from tests.e2e.kube.way import way_to
from tests.real.dev_server import MESHCA, Certificate, Key, Server, reason, refused

pytestmark = pytest.mark.real("kubernetes")
MODES = ("review", "local", "pods")
Serving = contextlib.AbstractContextManager[Server]
NO_LIMITS = {"per_identity": {"rate": 1e5, "burst": 100_000}, "per_namespace": {"rate": 1e5, "burst": 100_000}}
IN_FLIGHT = 'meshca_token_reviews_in_flight{cluster="home"}'
SPENT = 'meshca_token_review_seconds_sum{{cluster="home",part="{}"}}'
REVIEWED = 'meshca_token_reviews_total{{cluster="home",result="{}"}}'


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server in one mode."""

    mode: str
    server: Server


async def serve(
    cluster: TestCluster, folder: Path, *rules: Any, reached: bool = True, **kubernetes: Any
) -> Serving:
    """A server whose account has exactly these rules; to be entered."""
    account = await cluster.account(folder, await cluster.namespace(), "meshca", cluster_rules=rules)
    section = {"kubeconfig": str(account.kubeconfig), **kubernetes}
    return serving_cluster(folder / "ca", section, reached=reached, limits=NO_LIMITS)


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


@pytest.fixture
async def namespace(cluster: TestCluster) -> str:
    """A namespace of the test's own."""
    return await cluster.namespace()


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


async def why_refused(server: Server, token: str) -> tuple[str, str]:
    """Status and reason of a refusal."""
    error = await refused(server.create(token))
    return error.code().name, reason(error)


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


def meshca(server: Server, *arguments: str) -> str:
    """What an administrator's command prints."""
    environ = {**os.environ, "MESHCA_ADMIN_SOCKET": server.endpoint("endpoint-admin")}
    run = subprocess.run([*MESHCA, *arguments], env=environ, capture_output=True, text=True, check=True)
    return run.stdout


def in_ledger(server: Server, certificate: Certificate) -> dict[str, Any]:
    """The record of a certificate."""
    serial = f"{certificate.leaf.serial_number:x}"
    found: dict[str, Any] = json.loads(meshca(server, "ledger", "show", serial, "-o", "json"))
    return found


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


@pytest.mark.parametrize(("cache", "good", "remembered"), [("10s", 1, 4), ("0s", 5, 0)])
async def test_how_long_a_review_holds(
    cluster: TestCluster, namespace: str, tmp_path: Path, cache: str, good: int, remembered: int
) -> None:
    """Five uses of a token: one review, or five. The administrator sees for how long one holds."""
    token = await cluster.token(namespace, "web", pod=await cluster.pod(namespace))
    with await serve(cluster, tmp_path, *RULES, token_review={"cache": cache}) as server:
        for _ in range(5):
            await server.create(token)
        assert server.metric(REVIEWED.format("good")) == good
        assert server.metric(REVIEWED.format("remembered")) == remembered
        assert server.metric(IN_FLIGHT) == 0
        assert server.metric('meshca_token_review_seconds_count{cluster="home",part="call"}') == good
        holds = "a review holds 10s" if cache == "10s" else "every use is reviewed"
        assert f"tokens are proven by cluster home, mode review: {holds}" in meshca(server, "status")


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


async def test_a_storm_of_pods(cluster: TestCluster, namespace: str, tmp_path: Path) -> None:
    """A thousand tokens at once: every one is issued, and no more reviews are under way than configured."""
    pods = await asyncio.gather(*(cluster.pod(namespace, "web", name=f"web-{number}") for number in range(50)))
    tokens: list[str] = []
    for _ in range(20):
        tokens += await asyncio.gather(*(cluster.token(namespace, "web", pod=pod) for pod in pods))
    request = IstioCertificateRequest(csr=Key().csr)
    in_flight: list[float] = []
    with await serve(cluster, tmp_path, *RULES) as server:
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(server.channel()) for _ in range(100)]
            stubs: list[Any] = [IstioCertificateServiceStub(channel) for channel in channels]
            begun = time.monotonic()

            async def issue(number: int) -> float:
                metadata = [("authorization", f"Bearer {tokens[number]}")]
                await stubs[number % 100].CreateCertificate(request, metadata=metadata, timeout=60)
                return time.monotonic() - begun

            issuing = asyncio.gather(*map(issue, range(1000)))
            while not issuing.done():
                in_flight.append(await asyncio.to_thread(server.metric, IN_FLIGHT))
                await asyncio.sleep(0.05)
            ends = sorted(await issuing)
        assert server.metric(REVIEWED.format("good")) == 1000
        assert 0 < max(in_flight) <= 16
        print(  # noqa: T201 - figures for a note
            f"1,000 tokens at once: half after {ends[500]:.2f} s, all after {ends[-1]:.2f} s,"
            f" at most {max(in_flight):.0f} reviews at once;"
            f" reviews took {server.metric(SPENT.format('call')):.1f} s,"
            f" waiting for one {server.metric(SPENT.format('queue')):.1f} s in all"
        )
