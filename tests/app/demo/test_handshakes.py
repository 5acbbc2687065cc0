"""What the demo measures with is true: a real Envoy's counts of handshakes, and what it says it holds."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509

from meshca.app.demo.certificates import held
from meshca.app.demo.handshakes import Handshakes, handshakes, retries
from meshca.app.demo.load import through_envoy
from meshca.app.envoy_process import EnvoyProcess
from meshca.config.resource_names import DEFAULT, ROOTCA, SECRET_TYPE_URL
from meshca.identity.spiffe_id import SpiffeId
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, Outbound, ServiceBootstrap
from tests.fakes.echo_app import echo_app
from tests.real.envoy import from_files, push, running_envoy
from tests.real.pki import Leaf, Pki, certificate_secret, roots_secret

PAYMENTS = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
WEB = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
PKI = Pki()


def test_what_was_before_does_not_count() -> None:
    """Only what the load added."""
    before = Handshakes(completed=5, resumed=1, failed=2)
    after = Handshakes(completed=25, resumed=1, failed=3)
    assert after.since(before) == Handshakes(completed=20, resumed=0, failed=1)


async def envoy(stack: AsyncExitStack, service: ServiceBootstrap, leaf: Leaf, folder: Path) -> EnvoyProcess:
    """An Envoy with this certificate."""
    folder.mkdir()  # noqa: ASYNC240 - a test's own folder
    bootstrap = from_files(build(service), folder)
    push(folder, SECRET_TYPE_URL, DEFAULT, certificate_secret(leaf))
    push(folder, SECRET_TYPE_URL, ROOTCA, roots_secret(PKI.root()))
    running = await stack.enter_async_context(running_envoy(bootstrap, folder))
    await running.ready()
    return running


@pytest.mark.real("envoy")
@pytest.mark.parametrize("full", [True, False], ids=["full handshakes", "kept connections"])
async def test_a_real_envoy_counts_a_handshake_for_each_request(tmp_path: Path, *, full: bool) -> None:
    """With full handshakes one for each; without, few: so the count tells the two apart."""
    agent, leaf = AgentSocket(path=tmp_path / "agent.sock"), PKI.leaf(str(PAYMENTS))
    async with AsyncExitStack() as stack:
        app_port = await stack.enter_async_context(echo_app())
        inbound = Inbound(address="127.0.0.1", port=0, app_port=app_port)
        service = ServiceBootstrap(identity=PAYMENTS, source=agent, inbound=(inbound,), full_handshakes=full)
        payments = await envoy(stack, service, leaf, tmp_path / "payments")
        (port,) = (await payments.ports()).values()
        outbound = Outbound(listen_port=0, host="127.0.0.1", port=port, identities=(PAYMENTS,))
        service = ServiceBootstrap(identity=WEB, source=agent, outbound=(outbound,), full_handshakes=full)
        web = await envoy(stack, service, PKI.leaf(str(WEB)), tmp_path / "web")
        (web_port,) = (await web.ports()).values()
        before = await handshakes(payments)
        async with through_envoy(web_port, "/charges") as call:
            assert {await call() for _ in range(20)} == {403}
        made = (await handshakes(payments)).since(before)
        (certificate,) = held((await payments.get("/certs"))[1])
        assert (made.resumed, made.failed, await retries(web)) == (0, 0, 0)
        assert (made.completed >= 20) is full
    assert certificate.spiffe_id == str(PAYMENTS)
    assert int(certificate.serial, 16) == x509.load_pem_x509_certificate(leaf.certificate).serial_number
