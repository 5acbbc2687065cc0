"""The real Envoy enforces what `decide` says: sampled requests, the path tricks, live changes, refused filters."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshca.authz.decide import decide
from meshca.authz.model import Action, PolicySet, Request, Workload
from meshca.identity.spiffe_id import SpiffeId
from tests.authz.strategies import POLICY_SETS, REQUESTS, WORKLOADS
from tests.authz.test_decide import WEB, operation, policy, source
from tests.real.mesh_service import DNS_NAME, WORKLOAD, MeshService, mesh_service
from tests.real.raw_http import RawClient

pytestmark = [pytest.mark.real("envoy"), pytest.mark.asyncio(loop_scope="module")]
SETS, REQUESTS_EACH = 30, 20


def _open_up(bootstrap: dict[str, Any]) -> None:
    """Let peers of any trust domain and plaintext peers reach the policy filter, which is what is tested here."""
    listener = bootstrap["static_resources"]["listeners"][0]
    plaintext = copy.deepcopy(listener) | {"name": "plaintext"}
    del plaintext["filter_chains"][0]["transport_socket"]
    bootstrap["static_resources"]["listeners"].append(plaintext)
    tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    del tls["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshService]:
    """One Envoy for all tests here."""
    folder: Path = tmp_path_factory.mktemp("enforced")
    async with mesh_service(folder, change=_open_up) as running:
        yield running


def samples() -> list[tuple[PolicySet, Workload, list[Request]]]:
    """The same policy sets and requests in every run."""
    found: list[tuple[PolicySet, Workload, list[Request]]] = []

    @settings(max_examples=SETS, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(POLICY_SETS, WORKLOADS, st.lists(REQUESTS, min_size=REQUESTS_EACH, max_size=REQUESTS_EACH))
    def collect(policies: PolicySet, workload: Workload, requests: list[Request]) -> None:
        found.append((policies, workload, requests))

    collect()
    return found


async def test_enforces_what_decide_says(service: MeshService) -> None:
    """Hundreds of sampled requests get the verdict of the pure function, and reach the app unchanged."""
    refused: dict[str, str] = {}
    asked = 0
    async with contextlib.AsyncExitStack() as stack:
        clients: dict[SpiffeId | None, RawClient] = {}
        for policies, workload, requests in samples():
            await service.enforce(policies, workload)
            for request in requests:
                if request.principal not in clients:
                    client = _caller(service, request.principal)
                    clients[request.principal] = await stack.enter_async_context(client)
                asked += 1
                number = {"x-request-id": f"sample-{asked}"}
                answer = await clients[request.principal].request(request.method, request.path, number)
                verdict = decide(policies, workload, request)
                assert answer.status == (200 if verdict.allowed else 403), (policies, workload, request)
                if verdict.allowed:
                    assert json.loads(answer.body)["path"] == request.path
                else:
                    refused[f"sample-{asked}"] = f"rbac_access_denied_matched_policy[{verdict.rule}]"
    assert asked >= SETS * REQUESTS_EACH // 2
    assert await _details(service, set(refused)) == refused


async def _details(service: MeshService, numbers: set[str]) -> dict[str, str]:
    """What Envoy's access log says about these requests; it is written within a tenth of a second."""
    async with asyncio.timeout(20):
        while True:
            lines = [json.loads(line) for line in _whole_lines(service)]
            found = {line["request_id"]: line["details"] for line in lines if line["request_id"] in numbers}
            if found.keys() == numbers:
                return found
            await service.envoy.get("/ready")


def _whole_lines(service: MeshService) -> list[str]:
    lines = service.envoy.access_log.read_text().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


def _caller(service: MeshService, principal: SpiffeId | None) -> RawClient:
    if principal is None:
        return RawClient(service.ports["plaintext"])
    return service.peer(str(principal))


NO_ADMIN = PolicySet(policies=(policy("no-admin", Action.DENY, operation(paths=("/admin", "/admin/*"))),))


@pytest.mark.parametrize(
    ("spelling", "status"),
    [
        pytest.param("/admin", 403, id="plain"),
        pytest.param("//admin", 403, id="double-slash"),
        pytest.param("/x/../admin", 403, id="dots"),
        pytest.param("/./admin", 403, id="dot"),
        pytest.param("/%61dmin", 403, id="escaped-letter"),
        pytest.param("/x/%2e%2e/admin", 403, id="escaped-dots"),
        pytest.param("/%2fadmin", 400, id="escaped-slash"),
        pytest.param("/x/..%2Fadmin", 400, id="escaped-slash-after-dots"),
        pytest.param("/%5cadmin", 400, id="escaped-backslash"),
        pytest.param("\\admin", 400, id="backslash-first"),
        pytest.param("/x\\..\\admin", 403, id="backslash"),
        pytest.param("/admin?x=1", 403, id="query"),
        pytest.param("/admin#x", 400, id="fragment"),
        pytest.param("/admin%00", 400, id="nul"),
        pytest.param("/admin/%2e", 403, id="escaped-dot-at-end"),
        pytest.param("http://any/admin", 403, id="absolute-form"),
        pytest.param("http://any//admin", 403, id="absolute-form-double-slash"),
        pytest.param("/public", 200, id="another-path"),
    ],
)
async def test_path_tricks(service: MeshService, spelling: str, status: int) -> None:
    """No spelling of /admin passes a DENY on it."""
    await service.enforce(NO_ADMIN)
    async with service.peer(WEB) as web:
        assert (await web.request("GET", spelling)).status == status


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        pytest.param(
            "/public", grpc.StatusCode.UNKNOWN, id="another-path"
        ),  # the application's 200, which is no gRPC
        pytest.param("/admin", grpc.StatusCode.PERMISSION_DENIED, id="plain"),
        pytest.param("//admin", grpc.StatusCode.PERMISSION_DENIED, id="double-slash"),
        pytest.param("/x/../admin", grpc.StatusCode.PERMISSION_DENIED, id="dots"),
        pytest.param("/x\\..\\admin", grpc.StatusCode.PERMISSION_DENIED, id="backslash"),
        pytest.param("/%61dmin", grpc.StatusCode.PERMISSION_DENIED, id="escaped-letter"),
        pytest.param("/admin?x=1", grpc.StatusCode.PERMISSION_DENIED, id="query"),
        pytest.param("/%2fadmin", grpc.StatusCode.INTERNAL, id="escaped-slash"),
        pytest.param("/admin#x", grpc.StatusCode.INTERNAL, id="fragment"),
        pytest.param("admin", grpc.StatusCode.UNAVAILABLE, id="no-slash"),
        pytest.param("", grpc.StatusCode.UNAVAILABLE, id="empty"),
    ],
)
async def test_path_tricks_in_http2(service: MeshService, spelling: str, code: grpc.StatusCode) -> None:
    """HTTP/2 carries paths that HTTP/1 cannot. There 403 shows as PERMISSION_DENIED, 400 as INTERNAL."""
    await service.enforce(NO_ADMIN)
    web = service.pki.leaf(WEB)
    credentials = grpc.ssl_channel_credentials(service.pki.root(), web.key, web.certificate)
    options = [("grpc.ssl_target_name_override", DNS_NAME)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{service.port}", credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _unary(channel, spelling)
    assert caught.value.code() == code


async def _unary(channel: Any, path: str) -> None:
    """Call any path; our gRPC library's types know no method without a message."""
    await channel.unary_unary(path)(b"")


@pytest.mark.parametrize("spelling", ["/v1/x:delete", "/v1/x%3Adelete", "/v1/x%3adelete", "/v1/x%3adelete?a=b"])
async def test_escaped_reserved_characters(service: MeshService, spelling: str) -> None:
    """Envoy leaves the escape of a reserved character alone, and the policy sees through it."""
    await service.enforce(PolicySet(policies=(policy("d", Action.DENY, operation(paths=("*:delete",))),)))
    async with service.peer(WEB) as web:
        assert (await web.request("POST", spelling)).status == 403


async def test_plaintext_has_no_principal(service: MeshService) -> None:
    """`principals: ["*"]` lets in every identity and nobody without one."""
    await service.enforce(PolicySet(policies=(policy("a", Action.ALLOW, source(principals=("*",))),)))
    async with service.peer(WEB) as web, RawClient(service.ports["plaintext"]) as nobody:
        answers = [await web.request("GET", "/"), await nobody.request("GET", "/")]
    assert [answer.status for answer in answers] == [200, 403]


async def test_several_uri_names(service: MeshService) -> None:
    """A peer whose certificate has two names is denied by either of them."""
    await service.enforce(PolicySet(policies=(policy("d", Action.DENY, source(principals=("*/sa/bad",))),)))
    async with service.peer(WEB, "spiffe://cluster.local/ns/shop/sa/bad") as peer:
        assert (await peer.request("GET", "/")).status == 403


async def test_long_values(service: MeshService) -> None:
    """A path far over Envoy's default limit on expressions is accepted and enforced."""
    path = "/" + "long:" * 200
    await service.enforce(PolicySet(policies=(policy("d", Action.DENY, operation(paths=(path,))),)))
    async with service.peer(WEB) as web:
        statuses = [(await web.request("GET", asked)).status for asked in (path, f"{path}x")]
    assert statuses == [403, 200]


async def test_first_rule_by_name_is_logged(service: MeshService) -> None:
    """Of several DENY rules that match, the log names the first by name: rule[10] before rule[2]."""
    other = operation(paths=("/other",))
    rules = [other] * 2 + [operation(paths=("/both",))] + [other] * 7 + [operation(paths=("/both",))]
    await service.enforce(PolicySet(policies=(policy("d", Action.DENY, *rules),)))
    async with service.peer(WEB) as web:
        assert (await web.request("GET", "/both", {"x-request-id": "by-name"})).status == 403
    expected = "rbac_access_denied_matched_policy[ns[shop]-policy[d]-rule[10]]"
    assert await _details(service, {"by-name"}) == {"by-name": expected}


async def test_a_refused_filter_leaves_the_last_in_force(service: MeshService) -> None:
    """What Envoy cannot accept changes nothing."""
    await service.enforce(NO_ADMIN)
    broken = TypedExtensionConfig(name="meshca-authz")
    broken.typed_config.Pack(RBAC(rules=rbac_pb2.RBAC(policies={"no-principals": rbac_pb2.Policy()})))
    await service.push_filter(broken.SerializeToString(), "update_rejected")
    async with service.peer(WEB) as web:
        statuses = [(await web.request("GET", path)).status for path in ("/admin", "/public")]
    assert statuses == [403, 200]


async def test_deny_and_allow_change_together(service: MeshService) -> None:
    """While two sets that both keep a request out alternate, it never gets in."""
    by_deny = PolicySet(policies=(policy("d", Action.DENY, operation(paths=("/x",))),))
    by_allow = PolicySet(policies=(policy("a", Action.ALLOW, operation(paths=("/y",))),))
    statuses = set()
    async with service.peer(WEB) as web:
        for policies in [by_deny, by_allow] * 5:
            await service.enforce(policies, WORKLOAD)
            statuses |= {(await web.request("GET", "/x")).status for _ in range(10)}
    assert statuses == {403}
