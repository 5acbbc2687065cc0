"""The agent against a real server: renewal by certificate, live policies, adoption, refused tokens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshca.agent.chain import fingerprint
from meshca.agent.options import Options, read_options
from meshca.agent.process import Agent
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from tests.fakes.logs import captured_logs
from tests.real.dev_server import Server, running_server

SECONDS = 30.0
SPIFFE_ID = "spiffe://cluster.local/ns/shop/sa/web"
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/admin"]}}]}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A CA whose certificates live for eight seconds."""
    policies = tmp_path_factory.mktemp("policies")
    settings = {
        "MESHCA__WORKERS": "2",
        "MESHCA__SVID__DEFAULT_LIFETIME": "8s",
        "MESHCA__ROTATION__SETTLE": "1s",
        "MESHCA__POLICIES__DIR": str(policies),
    }
    with running_server(tmp_path_factory.mktemp("ca"), settings=settings) as running:
        (running.folder / "policies").symlink_to(policies)
        yield running


def options(server: Server, folder: Path) -> Options:
    """An agent that pins the root by its fingerprint."""
    pin = fingerprint(x509.load_pem_x509_certificate(server.root))
    flags = ["--endpoint", server.endpoint(), "--endpoint-mtls", server.endpoint("endpoint-mtls")]
    flags += ["--fingerprint", pin, "--token-file", str(folder / "token"), "--socket", str(folder / "s")]
    return read_options([*flags, "--state-dir", str(folder / "state"), "--readiness", "off"], {})


@contextlib.asynccontextmanager
async def running_agent(server: Server, folder: Path) -> AsyncIterator[Agent]:
    """An agent that runs, with a token that is good at its start only."""
    (folder / "token").write_text(server.token("shop", "web", pod="web-0", expires_in=timedelta(minutes=5)))
    pace = Pace(clock=SystemClock(), backoff=Backoff(floor=0.05, ceiling=0.5))
    agent = Agent(options(server, folder), pace)
    async with agent.open() as works:
        running = [asyncio.create_task(work()) for work in works]
        try:
            yield agent
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.02)


async def test_renewals_go_by_certificate_and_policies_stay_live(server: Server, tmp_path: Path) -> None:
    """Over two renewals, without the token; the stream is opened anew each time and nothing is lost."""
    async with running_agent(server, tmp_path) as agent:
        await until(lambda: agent.state()["ready"] is True and bool(agent.state()["policies"]))
        (tmp_path / "token").unlink()
        first = agent.state()
        serials = set()

        def renewed() -> bool:
            serials.add(agent.holding.svid.serial if agent.holding.svid else "")
            return len(serials) == 3

        await until(renewed)
        assert agent.state()["policies"] == first["policies"]
        (server.folder / "policies" / "p.yaml").write_text(POLICY)
        await until(lambda: agent.state()["policies"] != first["policies"])
    decided = [line for line in server.log() if line.get("event") == "issuance.decided"]
    proven = [line["proven_by"] for line in decided if line.get("serial") in serials]
    assert sorted(proven) == ["client_cert", "client_cert", "jwks"]


async def test_a_refused_token_is_no_certificate(server: Server, tmp_path: Path) -> None:
    """The reason of the CA is in the readiness answer, for whoever debugs the pod."""
    async with running_agent(server, tmp_path) as agent:
        await until(lambda: agent.state()["ready"] is True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "token").write_text(server.token("shop", "web", audience="somebody-else"))
    pace = Pace(clock=SystemClock(), backoff=Backoff(floor=0.05, ceiling=0.5))
    agent = Agent(options(server, tmp_path / "other"), pace)
    async with agent.open() as works:
        running = [asyncio.create_task(work()) for work in works]
        await until(lambda: "ca_unauthenticated" in str(agent.state()["reason"]))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert agent.state()["ready"] is False


async def test_a_stream_refused_for_its_age_is_proven_anew(tmp_path: Path) -> None:
    """Long before half life: the server wants a token again, and gets it, and the stream is back."""
    settings = {"MESHCA__WORKERS": "1", "MESHCA__AUTHN__CLIENT_CERT": "{max_lineage_age: 2s}"}
    with running_server(tmp_path / "ca", settings=settings) as server:
        async with running_agent(server, tmp_path) as agent:
            await until(lambda: agent.state()["ready"] is True and bool(agent.state()["policies"]))
            first = agent.holding.svid
            assert first is not None
            with captured_logs() as logs:
                await until(lambda: SystemClock().now() - first.received_at > timedelta(seconds=3))
                os.kill(server.workers()[0]["pid"], signal.SIGKILL)  # a stream that is open is left alone
                await until(lambda: agent.holding.svid is not first)
                await until(lambda: "relay.connected" in [entry["event"] for entry in logs])
        decided = [line for line in server.log() if line.get("event") == "issuance.decided"]
    events = [entry["event"] for entry in logs]
    assert events.index("certificate.refused") < events.index("certificate.received") < len(events)
    assert [line["proven_by"] for line in decided] == ["jwks", "jwks"]
