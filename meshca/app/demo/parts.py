"""Starts the parts of the demo's mesh, each as an operator would: by the command line, in its own process.

Everything that is started goes on the caller's exit stack, so it ends in reverse order, whatever happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from meshca.app import envoy_process
from meshca.app.demo import child
from meshca.app.demo.certificates import Held, held
from meshca.app.demo.child import Child
from meshca.app.demo.telling import Teller
from meshca.app.demo.topology import LIFETIME, TOKEN_LIFETIME, Places, spiffe_id
from meshca.app.demo.vault import Vault
from meshca.app.envoy_process import EnvoyProcess
from meshca.clock import Clock
from meshca.duration import format_duration
from meshca.identity.service_account import ServiceAccount
from meshca.sidecar import bootstrap
from meshca.sidecar.service import AdminSocket, AgentSocket, Inbound, Outbound, ServiceBootstrap

_START_SECONDS = 60.0  # a busy machine; an idle one needs about two


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What starting anything needs.

    Attributes:
        places: where everything is.
        running: what is started is put on this stack.
        tell: learns how to read the logs of what is started.
        clock: for waiting.
        vault: whose root the CA signs below; None for a root of its own.
    """

    places: Places
    running: AsyncExitStack
    tell: Teller
    clock: Clock
    vault: Vault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ca:
    """The CA while it runs.

    Attributes:
        endpoint: host:port for callers with a token.
        endpoint_mtls: host:port for callers with a certificate.
        admin: the local administrator's socket.
        root: PEM of its root.
    """

    child: Child
    endpoint: str
    endpoint_mtls: str
    admin: str
    root: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate, as agents can pin it."""
        pem = self.root.read_text(encoding="ascii")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One workload's Envoy while it runs."""

    account: ServiceAccount
    envoy: EnvoyProcess

    async def held(self) -> frozenset[Held]:
        """The certificates that this Envoy presents now."""
        _, page = await self.envoy.get("/certs")
        return held(page)

    async def port(self) -> int:
        """The port of its one listener."""
        return next(iter((await self.envoy.ports()).values()))


async def start_ca(start: Start) -> Ca:
    """`meshca dev up`: a CA with a token issuer of its own, on free ports.

    Raises:
        Unavailable: it does not serve.
    """
    places = start.places
    settings = {
        "MESHCA__SVID__DEFAULT_LIFETIME": format_duration(LIFETIME),
        "MESHCA__POLICIES__DIR": str(places.policies),
        "MESHCA__WORKERS": "1",
        "MESHCA__SERVING__DRAIN_TIMEOUT": "2s",
        "MESHCA__ROTATION__SETTLE": "1s",
        **(start.vault.settings if start.vault else {}),
    }
    arguments = ["dev", "up", "--dir", str(places.ca), "--port", "0", "--mtls-port", "0"]
    ca = await _start(start, "CA", arguments, places.folder / "ca.log", settings)
    await ca.writes(places.ca / "ready", _START_SECONDS)
    endpoint, endpoint_mtls, admin = (
        (places.ca / name).read_text(encoding="utf-8").strip()
        for name in ("endpoint", "endpoint-mtls", "endpoint-admin")
    )
    return Ca(child=ca, endpoint=endpoint, endpoint_mtls=endpoint_mtls, admin=admin, root=places.ca / "root.pem")


async def write_token(places: Places, account: ServiceAccount) -> Path:
    """`meshca dev token`: what the kubelet does in a cluster, a token file for one workload.

    Raises:
        Unavailable: the command failed.
    """
    folder = places.of(account)
    folder.mkdir(mode=0o700)
    arguments = ["dev", "token", "--dir", str(places.ca), "--expires-in", TOKEN_LIFETIME]
    arguments += ["--namespace", account.namespace, "--service-account", account.name]
    token = await child.output_of("meshca dev token", arguments)
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(token.strip(), encoding="ascii")
    return file


async def start_agent(start: Start, ca: Ca, account: ServiceAccount, *, write_certificates: bool = False) -> Child:
    """`meshca agent` of one workload; it may not yet have a certificate.

    Args:
        start: what starting needs.
        ca: the CA to ask.
        account: whose token it has.
        write_certificates: whether to keep the certificate as files too, for programs without Envoy.
    """
    folder = start.places.of(account)
    arguments = ["agent", "--endpoint", ca.endpoint, "--endpoint-mtls", ca.endpoint_mtls]
    arguments += ["--root", str(ca.root), "--token-file", str(folder / "token")]
    arguments += ["--socket", str(socket_of(start.places, account)), "--state-dir", str(folder / "state")]
    arguments += ["--readiness", "off", "--node-id", account.name]
    if write_certificates:
        arguments += ["--write-certs", str(written_certificates(start.places, account))]
    return await _start(start, f"{account.name} agent", arguments, folder / "agent.log", {})


def socket_of(places: Places, account: ServiceAccount) -> Path:
    """Where one workload's agent serves its Envoy."""
    return places.of(account) / "agent.sock"


def written_certificates(places: Places, account: ServiceAccount) -> Path:
    """Where one workload's agent keeps its certificate as files, if it is told to."""
    return places.of(account) / "certificates"


async def start_receiver(start: Start, binary: Path, account: ServiceAccount, app_port: int) -> Sidecar:
    """The Envoy of a service that is called: mTLS and policy in front of an application.

    Raises:
        Unavailable: it does not become ready.
    """
    inbound = Inbound(address="127.0.0.1", port=0, app_port=app_port)
    return await _start_envoy(start, binary, account, inbound=(inbound,))


async def start_caller(start: Start, binary: Path, account: ServiceAccount, receiver: Sidecar) -> Sidecar:
    """The Envoy of a service that calls another one, whose identity it demands.

    Raises:
        Unavailable: it does not become ready.
    """
    identities = (spiffe_id(receiver.account),)
    outbound = Outbound(listen_port=0, host="127.0.0.1", port=await receiver.port(), identities=identities)
    return await _start_envoy(start, binary, account, outbound=(outbound,))


async def _start_envoy(
    start: Start,
    binary: Path,
    account: ServiceAccount,
    *,
    inbound: tuple[Inbound, ...] = (),
    outbound: tuple[Outbound, ...] = (),
) -> Sidecar:
    folder = start.places.of(account)
    service = ServiceBootstrap(
        identity=spiffe_id(account),
        source=AgentSocket(path=socket_of(start.places, account)),
        inbound=inbound,
        outbound=outbound,
        admin=AdminSocket(path=folder / "admin.sock"),
        full_handshakes=True,  # so that every single request tries both certificates
    )
    envoy = await start.running.enter_async_context(
        envoy_process.running(
            binary, bootstrap.build(service), folder, clock=start.clock, name=f"{account.name}-envoy"
        )
    )
    start.tell.watch(f"{account.name} Envoy", envoy.log_tail)
    await envoy.ready(_START_SECONDS)
    return Sidecar(account=account, envoy=envoy)


async def _start(start: Start, name: str, arguments: list[str], log: Path, settings: dict[str, str]) -> Child:
    # What a process makes for itself is in our folder too, and so is gone even if it is ended while it starts.
    environ = {"TMPDIR": str(start.places.folder), **settings}
    context = child.running(name, arguments, log, environ, clock=start.clock)
    process = await start.running.enter_async_context(context)
    start.tell.watch(name, process.tail)
    return process


async def write_tokens(places: Places, accounts: tuple[ServiceAccount, ...]) -> None:
    """A token file for each workload.

    Raises:
        Unavailable: one could not be had.
    """
    await asyncio.gather(*(write_token(places, account) for account in accounts))
