"""Wires `meshca doctor`: the cluster as the server reaches it, and the CA as an agent does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshca.agent.bundle import parse_bundle
from meshca.agent.ca_client import CaAddress, CaClient
from meshca.agent.keys import KeyChoice, fresh_key
from meshca.agent.pin import RootFile
from meshca.agent.presented import presented_chain
from meshca.agent.svid import Expected, accept, answered_roots
from meshca.agent.target import Target
from meshca.agent.trust import Trust
from meshca.app import admin_client
from meshca.authority.history import Record
from meshca.clock import Clock, SystemClock
from meshca.config.kubernetes import KubernetesConfig
from meshca.config.loader import load_config
from meshca.config.server import ServerConfig
from meshca.config.vault import VaultConfig
from meshca.doctor.address import Address
from meshca.doctor.examine import examine
from meshca.doctor.finding import Finding, Said, ok, wrong
from meshca.doctor.istio import CHECKS, ROOT_CHECKS
from meshca.doctor.looking import Looking
from meshca.doctor.mesh import Place
from meshca.doctor.site import Issued, Site, Wish
from meshca.errors import ConfigError
from meshca.kube.connection import connect, own_namespace
from meshca.rotation.report import RootReport
from meshca.wire.handshake import Handshake, shake_hands

UPSTREAM: Final = "upstream"  # the check of it
VAULT_CHECK: Final = "`meshca vault check --config <the server's>`"
MORE: Final = f"{VAULT_CHECK} says more"
LIFETIME: Final = 600  # seconds: nobody uses the certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an administrator says.

    Attributes:
        config: the server's configuration file; None for variables and defaults.
        place: where Istio is.
        ca_address: what proxies call the CA by; None to read it from Istio.
        endpoint: where to reach the CA from here; None for that address.
        seconds: longest time of each check.
    """

    config: Path | None
    place: Place
    ca_address: Address | None
    endpoint: Address | None
    seconds: float


async def findings(order: Order, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Finding]:
    """What each check finds, as it finds it.

    Raises:
        ConfigError: the configuration is not valid, or says nothing of a cluster.
    """
    config = load_config(order.config, environ)
    if config.kubernetes is None:
        raise ConfigError(str(order.config or "configuration"), ["needs the section kubernetes; in a pod: {}"])
    async with connect(config.kubernetes) as api:
        site = _site(order, config, config.kubernetes, Looking(api))
        async for finding in examine(CHECKS, site, order.seconds):
            yield finding
    if isinstance(config.upstream, VaultConfig):
        from meshca.app import vault  # hvac, which others need not wait for

        async for finding in vault.check(order.config, order.seconds, sign=False, environ=environ):
            yield finding


async def root_findings(socket: Path, seconds: float) -> AsyncIterator[Finding]:
    """What each check of the roots, and of who signs for them, finds, wherever the server runs, as it finds it.

    Args:
        socket: the running server's, for administrators.
        seconds: longest time of each check.
    """
    async for finding in examine(ROOT_CHECKS, _Server(roots=SocketRoots(socket), clock=SystemClock()), seconds):
        yield finding
    async for finding in examine({UPSTREAM: _upstream}, socket, seconds):
        yield finding


async def _upstream(socket: Path) -> Said:
    """Whoever signs for the server is well, as far as the server knows; a Vault is not asked."""
    async with admin_client.connect(socket) as client:
        told = (await client.status()).upstream
    if told.fault or told.leaf_error:
        said = [told.leaf_error.removesuffix(f"; {told.remedy}")] if told.leaf_error else []
        mend = [told.remedy] if told.remedy else []
        return wrong(f"{told.kind}: {', '.join([*([told.fault] if told.fault else []), *said])}", *mend, MORE)
    return ok(f"{told.kind}; {VAULT_CHECK} looks at it" if told.kind == "vault" else told.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A running server, with or without a cluster."""

    roots: SocketRoots
    clock: Clock


class SocketRoots:
    """Implements `doctor.site.Roots` by the administrator's socket, opened for each question.

    Args:
        socket: of the running server.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def report(self) -> RootReport:
        """How they stand.

        Raises:
            MeshcaError: as `app.admin_client` and `app.root_client` say.
        """
        async with admin_client.connect(self._socket) as client:
            return await client.roots.report()

    async def records(self) -> Sequence[Record]:
        """What is kept of every root, oldest first.

        Raises:
            MeshcaError: as `app.admin_client` and `app.root_client` say.
        """
        async with admin_client.connect(self._socket) as client:
            return await client.roots.records()


def _site(order: Order, config: ServerConfig, kubernetes: KubernetesConfig, looking: Looking) -> Site:
    async def handshake(where: Address, name: str) -> Handshake:
        return await asyncio.to_thread(shake_hands, where.host, where.port, name, order.seconds)

    clock = SystemClock()
    return Site(
        config=config,
        kubernetes=kubernetes,
        namespace=own_namespace(kubernetes),
        place=order.place,
        looking=looking,
        handshake=handshake,
        ca=AgentCa(clock, order.seconds),
        clock=clock,
        roots=SocketRoots(config.admin_socket),
        ca_address=order.ca_address,
        endpoint=order.endpoint,
    )


class AgentCa:
    """Implements `doctor.site.Ca` by the agent's own client and its own checks of the answer.

    Args:
        clock: for the checks.
        seconds: longest time of a call.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    async def issue(self, wish: Wish) -> Issued:
        """One certificate, whose key is thrown away.

        Raises:
            MeshcaError: as the agent's client and `agent.svid.accept` say.
        """
        key = fresh_key(KeyChoice.EC_P256, None)
        with tempfile.TemporaryDirectory(prefix="meshca-doctor-") as name:  # mode 0700; the client reads files
            folder = Path(name)
            (folder / "token").touch(mode=0o600)
            (folder / "token").write_text(wish.token.reveal())
            (folder / "roots.pem").write_text(wish.roots)
            answer = await self._client(wish, folder).by_token(key.csr)
        now = self._clock.now()
        svid = accept(answer, key, parse_bundle(wish.roots, now), Expected(account=wish.account), now)
        return Issued(identity=str(svid.identity), not_after=svid.not_after, roots=answered_roots(answer))

    def _client(self, wish: Wish, folder: Path) -> CaClient:
        target = Target(host=wish.endpoint.host, port=wish.endpoint.port)
        trust = Trust(
            RootFile(folder / "roots.pem"),
            fetch=lambda: presented_chain(target, wish.server_name, self._seconds),
            clock=self._clock,
        )
        return CaClient(
            address=CaAddress(token=target, server_name=wish.server_name),
            trust=trust,
            token_file=folder / "token",
            timeout=self._seconds,
            lifetime=LIFETIME,
        )
