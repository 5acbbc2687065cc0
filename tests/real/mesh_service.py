"""A service behind a real Envoy, as our bootstrap makes it: an echo application, peers, policies.

    async with mesh_service(tmp_path) as service:
        await service.enforce(policies, workload)
        async with service.peer("spiffe://cluster.local/ns/shop/sa/web") as web:
            assert (await web.request("GET", "/admin")).status == 403

Secrets and policies come from files (`tests.real.envoy.from_files`); all else is as `meshca envoy-config` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshca.app.envoy_process import EnvoyProcess
from meshca.authz.compile import compile_rbac
from meshca.authz.model import PolicySet, Workload
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, ServiceBootstrap
from tests.fakes.echo_app import echo_app
from tests.real.envoy import from_files, push, running_envoy
from tests.real.pki import Pki, certificate_secret, roots_secret
from tests.real.raw_http import RawClient

ME = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/payments")
DNS_NAME = "payments.test"  # in its certificate, for clients that know names only
WORKLOAD = Workload(namespace="shop", trust_domain=TrustDomain("cluster.local"))
_DEADLINE_SECONDS = 20.0


@dataclass(slots=True, kw_only=True)
class MeshService:
    """A running service.

    Attributes:
        ports: of its listeners, by name.
        port: of its inbound listener.
        app_port: where the application itself listens.
    """

    envoy: EnvoyProcess
    folder: Path
    pki: Pki
    ports: dict[str, int]
    port: int
    app_port: int
    _contexts: dict[tuple[str, ...], ssl.SSLContext] = field(default_factory=dict)
    _enforced: bytes = b""

    def peer(self, *uris: str, port: int | None = None) -> RawClient:
        """A caller with these URI names in its certificate."""
        if uris not in self._contexts:
            self._contexts[uris] = self.pki.client(self.pki.leaf(*uris), self.folder)
        return RawClient(port or self.port, self._contexts[uris])

    async def enforce(self, policies: PolicySet, workload: Workload = WORKLOAD) -> None:
        """Put a policy set in force; returns when Envoy has it."""
        compiled = compile_rbac(policies, workload)
        if compiled != self._enforced:
            await self.push_filter(compiled, "config_reload")
            self._enforced = compiled

    async def push_filter(self, extension: bytes, counter: str) -> None:
        """Put any filter where Envoy watches; returns when a counter of its extension config discovery moved."""
        before = await self.discovery(counter)
        push(self.folder, EXTENSION_TYPE_URL, AUTHZ, extension)
        async with asyncio.timeout(_DEADLINE_SECONDS):
            while await self.discovery(counter) == before:
                continue

    async def discovery(self, counter: str) -> int:
        """A counter of the policy filter's delivery."""
        name = f"extension_config_discovery.http_filter.{AUTHZ}.{counter}"
        return int((await self.envoy.stats(f"^{name}$")).get(name, 0))


@contextlib.asynccontextmanager
async def mesh_service(
    folder: Path, *, change: Callable[[dict[str, Any]], None] = lambda _: None, **settings: Any
) -> AsyncIterator[MeshService]:
    """A service that is ready, with no policy set yet.

    Args:
        folder: for the files of Envoy.
        change: a last change of the bootstrap.
        settings: fields of `ServiceBootstrap`.
    """
    async with echo_app() as app_port:
        inbound = Inbound(port=0, app_port=app_port, address="127.0.0.1")
        source = AgentSocket(path=Path("/unused"))
        built = build(ServiceBootstrap(identity=ME, source=source, inbound=(inbound,), **settings))
        bootstrap = from_files(built, folder)
        change(bootstrap)
        pki = Pki()
        push(folder, SECRET_TYPE_URL, DEFAULT, certificate_secret(pki.leaf(str(ME), dns=[DNS_NAME])))
        push(folder, SECRET_TYPE_URL, ROOTCA, roots_secret(pki.root()))
        async with running_envoy(bootstrap, folder) as envoy:
            await envoy.ready()
            ports = await envoy.ports()
            yield MeshService(
                envoy=envoy,
                folder=folder,
                pki=pki,
                ports=ports,
                port=ports[f"inbound-any-{app_port}"],
                app_port=app_port,
            )
