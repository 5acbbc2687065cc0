"""The emergency brake: a refusal written into the running server's rule file stops one workload's renewals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import yaml

from meshca.admission.parse import shipped_text
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from tests.fakes.xds_client import ADS, SDS, xds_stream
from tests.real.dev_server import Certificate, Server, reason, refused, running_server

CODE = grpc.StatusCode
OVERTAKEN = "Internal error from Core"  # in the words of grpc.aio
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: brake, namespace: shop}
spec: {action: DENY, rules: [{}]}
"""
WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule file, which begins as the shipped one."""
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(shipped_text())
    return path


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of policies, empty at first."""
    return tmp_path_factory.mktemp("policies")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, rules: Path, policies: Path) -> Iterator[Server]:
    """A server with these; its two workers must both obey."""
    settings = {
        "MESHCA__WORKERS": "2",
        "MESHCA__ADMISSION__FILE": str(rules),
        "MESHCA__POLICIES__DIR": str(policies),
        "MESHCA__SDS__SERVER_KEYS": "true",
    }
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        yield running


@contextlib.contextmanager
def braked(rules: Path, **match: Any) -> Iterator[None]:
    """The file refuses such callers inside the block."""
    tree = yaml.safe_load(shipped_text())
    tree["rules"].append({"name": "brake", "effect": "refuse", "match": match})
    rules.write_text(yaml.safe_dump(tree))
    try:
        yield
    finally:
        rules.write_text(shipped_text())


@contextlib.contextmanager
def tokens_only(rules: Path) -> Iterator[None]:
    """The file grants to tokens only inside the block."""
    tree = yaml.safe_load(shipped_text())
    for rule in tree["rules"]:
        rule["match"]["proven_by"] = ["jwks"]
    rules.write_text(yaml.safe_dump(tree))
    try:
        yield
    finally:
        rules.write_text(shipped_text())


def token_id(token: str) -> str:
    """The `jti` of a token."""
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


# how a brake names the workload, from its token and its certificate
BRAKES: dict[str, Callable[[str, Certificate], str]] = {
    "pods": lambda _token, _held: "web-1",
    "identities": lambda _token, _held: WEB,
    "serials": lambda _token, held: f"{held.leaf.serial_number:x}",
    "token_ids": lambda token, _held: token_id(token),
}


@pytest.mark.parametrize("key", BRAKES)
async def test_brake(server: Server, rules: Path, key: str) -> None:
    """It stops the next renewal with PermissionDenied, others go on; taken out, the renewal goes on as well."""
    token = server.token(pod="web-1")
    held = await server.create(token)
    other = await server.create(server.token("shop", "payments", pod="payments-1"))
    with braked(rules, **{key: [BRAKES[key](token, held)]}):
        await until(server, held, stopped=True)
        error = await refused(server.create(shown=held))
        assert (error.code(), reason(error)) == (CODE.PERMISSION_DENIED, "refused_by_rule")
        assert (await server.create(shown=other)).spiffe_id == other.spiffe_id
    await until(server, held, stopped=False)


async def test_brake_by_token_id_stops_the_whole_chain(server: Server, rules: Path) -> None:
    """Certificates that were renewed from one of that token's are stopped too, another token's are not."""
    token = server.token()
    held = await server.create(shown=await server.create(token))
    other = await server.create(shown=await server.create(server.token()))
    with braked(rules, token_ids=[token_id(token)]):
        await until(server, held, stopped=True)
        assert (await server.create(shown=other)).spiffe_id == other.spiffe_id
        assert reason(await refused(server.create(token))) == "refused_by_rule"


async def test_braked_workload_still_hears(server: Server, rules: Path, policies: Path) -> None:
    """Its agent gets roots and policies, and a policy that is written after the brake: it restricts it further."""
    held = await server.create(server.token(pod="web-1"))
    method = ADS + "StreamAggregatedResources"
    with braked(rules, pods=["web-1"]):
        await until(server, held, stopped=True)
        async with server.channel(shown=held) as channel, xds_stream(channel, method) as stream:
            await stream.ask(ROOTCA, type_url=SECRET_TYPE_URL)
            assert await stream.answer()
            await stream.ack()
            await stream.ask(AUTHZ, type_url=EXTENSION_TYPE_URL)
            assert b"brake" not in b"".join((await stream.answer()).values())
            await stream.ack()
            await asyncio.to_thread((policies / "deny.yaml").write_text, DENY)
            assert b"brake" in b"".join((await stream.answer()).values())
    await until(server, held, stopped=False)


async def test_brake_stops_streams_of_keys(server: Server, rules: Path) -> None:
    """An Envoy whose key the CA would make gets none, nor a stream to wait for it."""
    token = server.token(pod="web-1")
    held = await server.create(token)
    with braked(rules, pods=["web-1"]):
        await until(server, held, stopped=True)
        code, trailers = await end_of_keys(server, token)
    await until(server, held, stopped=False)
    assert (code, trailers["meshca-reason"]) == (CODE.PERMISSION_DENIED, "refused_by_rule")
    await until(server, held, stopped=False)


async def test_rules_for_tokens_only_keep_no_agent_from_its_policies(server: Server, rules: Path) -> None:
    """They refuse every renewal by certificate; the agent's stream is proven by its certificate all the same."""
    held = await server.create(server.token(pod="web-1"))
    method = ADS + "StreamAggregatedResources"
    with tokens_only(rules):
        await until(server, held, stopped=True)
        async with server.channel(shown=held) as channel, xds_stream(channel, method) as stream:
            await stream.ask(AUTHZ, type_url=EXTENSION_TYPE_URL)
            assert await stream.answer()
    await until(server, held, stopped=False)


async def end_of_keys(server: Server, token: str) -> tuple[grpc.StatusCode, dict[str, str]]:
    """How a stream of keys ends; an end that overtakes the first message is an error of the client's library."""
    metadata = (("authorization", f"Bearer {token}"),)
    while True:
        async with (
            server.channel() as channel,
            xds_stream(channel, SDS + "StreamSecrets", metadata=metadata) as stream,
        ):
            await stream.ask(DEFAULT, type_url=SECRET_TYPE_URL)
            code, details, trailers = await stream.status()
        if details != OVERTAKEN:
            return code, trailers


async def until(server: Server, held: Certificate, *, stopped: bool) -> None:
    """Return once several renewals in a row, over connections of their own, were all stopped, or none."""
    in_a_row = 0
    for _ in range(200):
        found = await outcome(server, held)
        in_a_row = in_a_row + 1 if found is (CODE.PERMISSION_DENIED if stopped else CODE.OK) else 0
        if in_a_row == 8:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("waited in vain")


async def outcome(server: Server, held: Certificate) -> grpc.StatusCode:
    """The status code of a renewal."""
    try:
        await server.create(shown=held)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return CODE.OK
