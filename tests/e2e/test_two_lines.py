"""A real worker and real agents while the root below them changes, told step by step what a parent would say.

Nothing is fake but who decides: the test is the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.admission.parse import shipped_text
from meshca.agent.chain import fingerprint
from meshca.agent.options import read_options
from meshca.agent.presented import presented_chain
from meshca.agent.process import Agent
from meshca.agent.target import Target
from meshca.app.control import Channel, Configure, Ready, UseAdmission, UseAuthority, UseOrder, UsePolicies
from meshca.app.dev_issuer import DevIssuer
from meshca.app.process import launch
from meshca.backoff import Backoff, Pace
from meshca.clock import SystemClock
from meshca.config.authn import AuthnConfig
from meshca.config.server import ServerConfig
from meshca.identity.service_account import ServiceAccount
from meshca.store.engine import open_store
from tests.fakes.logs import captured_logs
from tests.fakes.pki import Ca, make_ca

SECONDS = 30.0
DAY = timedelta(days=1)


def ca(name: str, issuer: Ca | None = None) -> Ca:
    """A root, or an intermediate below one, valid around now."""
    now = SystemClock().now()
    return make_ca(name, issuer, begin=now - DAY, end=now + (30 * DAY if issuer else 365 * DAY))


OLD_ROOT, NEW_ROOT = ca("old root"), ca("new root")
OLD, NEW = ca("old signer", OLD_ROOT), ca("new signer", NEW_ROOT)


def id_of(one: Ca) -> str:
    """What an order, and a pin, calls it."""
    return fingerprint(one.certificate)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number: int = probe.getsockname()[1]
        return number


class Mesh:
    """A worker, its parent's channel, and a folder for agents."""

    def __init__(self, folder: Path, sockets: Path, channel: Channel) -> None:
        self.folder = folder
        self.sockets = sockets
        self.token = Target(host="127.0.0.1", port=free_port())
        self.mtls = Target(host="127.0.0.1", port=free_port())
        self.channel = channel
        self.issuer = DevIssuer.create(folder / "issuer", SystemClock())

    async def begin(self) -> None:
        """Brief the worker, and wait until it serves: one root, one line."""
        config = ServerConfig(data_dir=self.folder, authn=AuthnConfig(issuers=(self.issuer.config(),)))
        configure = Configure(
            config=config.model_dump_json(),
            token_address=str(self.token),
            mtls_address=str(self.mtls),
            name="w0",
            prefix=5,
        )
        async with open_store(config.ledger_url, SystemClock(), migrate=True, instance="parent"):
            pass
        await self.sign(OLD, roots=[OLD_ROOT], before=[configure])
        await self.channel.send(UseAdmission(text=shipped_text(), source="shipped"), UsePolicies(files={}))
        assert await anext(aiter(self.channel.messages())) == Ready()

    async def sign(
        self, signer: Ca, *, roots: list[Ca], serving: Ca | None = None, before: list[Configure] | None = None
    ) -> None:
        """Tell the worker what to sign with."""
        line = {"serving_chain": serving.pem, "serving_key": serving.key_pem} if serving else {}
        news = UseAuthority(chain=signer.pem, key=signer.key_pem, roots="".join(one.pem for one in roots), **line)
        await self.channel.send(*(before or ()), news)

    async def shows(self, root: Ca) -> None:
        """Wait until the port shows a certificate below this root, with it and with no other."""
        async with asyncio.timeout(SECONDS):
            while (await presented_chain(self.token, "localhost", 5.0))[2:] != (root.certificate,):
                continue

    @contextlib.asynccontextmanager
    async def agent(self, name: str, *pin: str) -> AsyncIterator[Agent]:
        """An agent that runs."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        account = ServiceAccount(namespace="shop", name="web")
        (folder / "token").write_text(self.issuer.mint(account, pod=name).reveal())
        flags = ["--endpoint", str(self.token), "--endpoint-mtls", str(self.mtls), *pin]
        flags += ["--server-name", "localhost", "--token-file", str(folder / "token"), "--readiness", "off"]
        flags += ["--socket", str(self.sockets / name), "--state-dir", str(folder / "state")]
        made = Agent(read_options(flags, {}), Pace(clock=SystemClock(), backoff=Backoff(floor=0.05, ceiling=0.5)))
        async with made.open() as works:
            running = [asyncio.create_task(work()) for work in works]
            try:
                yield made
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A worker that serves below the old root."""
    launched = launch({"MESHCA__LOG__LEVEL": "error"})
    channel = await Channel.over(launched.channel)
    try:
        with tempfile.TemporaryDirectory(prefix="mesh-") as short:  # a socket's address has little room
            made = Mesh(tmp_path, Path(short), channel)
            await made.begin()
            yield made
    finally:
        await channel.close()  # a worker without its parent ends
        await asyncio.to_thread(launched.process.wait, SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.02)


def holds(agent: Agent, signer: Ca, *roots: Ca) -> bool:
    """Whether it has a certificate below this signer, and exactly these roots."""
    svid, bundle = agent.holding.svid, agent.holding.bundle
    return (
        svid is not None
        and bundle is not None
        and id_of(signer) in svid.signers
        and {fingerprint(root) for root in bundle.certificates} == {id_of(root) for root in roots}
    )


async def test_agents_follow_a_change_of_the_root_and_find_the_ca_in_each_phase(mesh: Mesh) -> None:
    """One agent runs through it all; others start anew with the old pin, until that root is retired."""
    pin = ("--fingerprint", id_of(OLD_ROOT))
    async with mesh.agent("through", *pin) as through:
        await mesh.shows(OLD_ROOT)
        await until(lambda: holds(through, OLD, OLD_ROOT))
        await mesh.sign(OLD, roots=[OLD_ROOT, NEW_ROOT])  # distributing
        await until(lambda: holds(through, OLD, OLD_ROOT, NEW_ROOT))
        await mesh.sign(NEW, serving=OLD, roots=[OLD_ROOT, NEW_ROOT])  # active
        async with mesh.agent("fresh", *pin) as fresh:
            await until(lambda: holds(fresh, NEW, OLD_ROOT, NEW_ROOT))
        await mesh.shows(OLD_ROOT)
        assert holds(through, OLD, OLD_ROOT, NEW_ROOT)  # it renews at half life, unless it is ordered
        now = SystemClock().now().isoformat()
        await mesh.channel.send(UseOrder(signers=(id_of(OLD),), begun_at=now, window=0.0))
        await until(lambda: holds(through, NEW, OLD_ROOT, NEW_ROOT))
        await mesh.sign(NEW, roots=[NEW_ROOT])  # retired
        await mesh.channel.send(UseOrder())
        await mesh.shows(NEW_ROOT)
        await until(lambda: holds(through, NEW, NEW_ROOT))
    async with mesh.agent("through", *pin) as again:  # what it learnt is worth more than its pin
        await until(lambda: holds(again, NEW, NEW_ROOT))
    with captured_logs() as logs:
        async with mesh.agent("late", *pin):
            await until(lambda: any(entry["event"] == "certificate.renewal_failed" for entry in logs))
    told = next(entry for entry in logs if entry["event"] == "certificate.renewal_failed")
    assert told["reason"] == "wrong_fingerprint"
    assert f"SHA-256 {id_of(NEW_ROOT)} now, unverified" in told["detail"]
