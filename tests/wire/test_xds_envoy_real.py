"""The real Envoy at the other end of our streams: answers, refusals, recoveries and reconnection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from meshca.app.envoy_process import EnvoyProcess
from meshca.authz.compile import compile_rbac
from meshca.authz.model import PolicySet, Workload
from meshca.clock import SystemClock
from meshca.config.resource_names import AUTHZ, DEFAULT, EXTENSION_TYPE_URL, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Event, Refused, Resource, Subscribed
from meshca.discovery.resources import content_hash
from meshca.discovery.source import Shelf
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.sidecar.bootstrap import build
from meshca.sidecar.service import AgentSocket, Inbound, ServiceBootstrap
from meshca.wire.interceptors import Guarded
from meshca.wire.peercred import Peer, open_gate
from meshca.wire.xds_services import EXTENSIONS, SECRETS, add_service
from meshca.wire.xds_streams import Context, Notice, Streams, Terms
from tests.fakes.echo_app import echo_app
from tests.real.envoy import running_envoy
from tests.real.pki import Leaf, Pki, certificate_secret, roots_secret

pytestmark = pytest.mark.real("envoy")
ME = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/web")
WORKLOAD = Workload(namespace="shop", trust_domain=TrustDomain("cluster.local"))
SECONDS = 20
VARIANTS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


@dataclass
class Control:
    """What a server serves and hears; it outlives the server's restarts."""

    path: Path
    shelf: Shelf = field(default_factory=Shelf)
    notices: list[Notice] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """SDS and ECDS behind the gate."""
        clock = SystemClock()
        streams = Streams(clock)
        server = grpc.aio.server()
        async with open_gate(self.path, allowed_uids=[os.getuid()], clock=clock) as gate:

            async def admit(context: Context) -> Terms:
                self.peers.append(gate.peer_of(context.peer()))
                return Terms(source=self.shelf, observer=self.observe)

            for service in (SECRETS, EXTENSIONS):
                add_service(Guarded(server), service, streams, admit)
            server.add_insecure_port(gate.inner_address)
            await server.start()
            tasks = [asyncio.create_task(gate.run()), asyncio.create_task(streams.run())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await server.stop(0)

    def observe(self, notice: Notice) -> None:
        """Remember."""
        self.notices.append(notice)

    def put(self, type_url: str, name: str, body: bytes) -> str:
        """Publish; returns the version."""
        version = content_hash(body)
        self.shelf.put(type_url, [Resource(name=name, version=version, body=body)])
        return version

    def secret(self, name: str, body: bytes) -> str:
        """Publish a secret."""
        return self.put(SECRET_TYPE_URL, name, body)

    async def heard(self, wanted: Callable[[Event], bool], since: int = 0) -> Notice:
        """The first such event after so many notices."""
        async with asyncio.timeout(SECONDS):
            while True:
                for notice in self.notices[since:]:
                    if wanted(notice.event):
                        return notice
                await asyncio.sleep(0.01)

    async def adopted(self, name: str, version: str, since: int = 0) -> Adopted:
        """Envoy acknowledged this version."""
        notice = await self.heard(lambda e: isinstance(e, Adopted) and e.versions.get(name) == version, since)
        assert isinstance(notice.event, Adopted)
        return notice.event

    async def refused(self, name: str, version: str) -> str:
        """Envoy refused this version, in its own words."""
        notice = await self.heard(lambda e: isinstance(e, Refused) and e.versions.get(name) == version)
        assert isinstance(notice.event, Refused)
        return notice.event.error


@dataclass
class Mesh:
    """A running Envoy whose secrets and policies come from us."""

    control: Control
    envoy: EnvoyProcess
    pki: Pki
    port: int

    def leaf(self) -> Leaf:
        """A new certificate of this service."""
        return self.pki.leaf(str(ME))

    async def shown(self) -> int:
        """The serial of the certificate that Envoy shows now."""
        context = ssl.create_default_context(cadata=self.pki.root().decode())
        context.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(der).serial_number


def serial(leaf: Leaf) -> int:
    """Of a certificate."""
    return x509.load_pem_x509_certificate(leaf.certificate).serial_number


def policies(*, allow: bool = True) -> bytes:
    """The filter of a workload without policies, or one that denies everything."""
    if allow:
        return compile_rbac(PolicySet(), WORKLOAD)
    extension = TypedExtensionConfig(name=AUTHZ)
    extension.typed_config.Pack(RBAC(rules={}))
    return bytes(extension.SerializeToString())


@contextlib.asynccontextmanager
async def mesh(folder: Path, *, delta: bool, leaf: Leaf, pki: Pki, control: Control) -> AsyncIterator[Mesh]:
    """An Envoy that has everything and has said so; the server runs already."""
    first = (
        control.secret(DEFAULT, certificate_secret(leaf)),
        control.secret(ROOTCA, roots_secret(pki.root())),
        control.put(EXTENSION_TYPE_URL, AUTHZ, policies()),
    )
    async with echo_app() as app_port:
        inbound = Inbound(port=0, app_port=app_port, address="127.0.0.1")
        service = ServiceBootstrap(
            identity=ME, source=AgentSocket(path=control.path), inbound=(inbound,), delta=delta, node_id="web-1"
        )
        async with running_envoy(build(service), folder) as envoy:
            await envoy.ready()
            for name, version in zip((DEFAULT, ROOTCA, AUTHZ), first, strict=True):
                await control.adopted(name, version)
            port = (await envoy.ports())[f"inbound-any-{app_port}"]
            yield Mesh(control=control, envoy=envoy, pki=pki, port=port)


@contextlib.asynccontextmanager
async def running(folder: Path, *, delta: bool) -> AsyncIterator[tuple[Mesh, Leaf]]:
    """Server and Envoy, and the certificate that Envoy began with."""
    control, pki = Control(folder / "s"), Pki()
    leaf = pki.leaf(str(ME))
    async with control.serving(), mesh(folder, delta=delta, leaf=leaf, pki=pki, control=control) as running:
        yield running, leaf


@VARIANTS
async def test_envoy_is_known_by_its_process(tmp_path: Path, delta: bool) -> None:  # noqa: FBT001 - parametrized
    """Every stream came from Envoy's own pid, over one connection, with its node id."""
    async with running(tmp_path, delta=delta) as (mesh, leaf):
        assert {peer.pid for peer in mesh.control.peers} == {mesh.envoy.pid}
        assert len({notice.peer for notice in mesh.control.notices}) == 1
        assert {notice.node.id for notice in mesh.control.notices} == {"web-1"}
        assert await mesh.shown() == serial(leaf)


@VARIANTS
async def test_rotated_certificate_is_live(tmp_path: Path, delta: bool) -> None:  # noqa: FBT001 - as above
    """As soon as it is acknowledged; roots are not sent again."""
    async with running(tmp_path, delta=delta) as (mesh, _):
        fresh, before = mesh.leaf(), len(mesh.control.notices)
        version = mesh.control.secret(DEFAULT, certificate_secret(fresh))
        await mesh.control.adopted(DEFAULT, version)
        assert await mesh.shown() == serial(fresh)
        names = {
            name for notice in mesh.control.notices[before:] for name in getattr(notice.event, "versions", {})
        }
        assert names == {DEFAULT}


@VARIANTS
async def test_refused_pair_leaves_the_last_good_one(tmp_path: Path, delta: bool) -> None:  # noqa: FBT001 - as above
    """A key that does not match is refused, the old pair is repaired, and the next good one goes live."""
    async with running(tmp_path, delta=delta) as (mesh, leaf):
        control, bad, before = mesh.control, mesh.leaf(), len(mesh.control.notices)
        mismatched = Leaf(certificate=bad.certificate, key=mesh.leaf().key)
        refused = control.secret(DEFAULT, certificate_secret(mismatched))
        assert "key" in (await control.refused(DEFAULT, refused)).lower()
        good = content_hash(certificate_secret(leaf))
        assert (await control.adopted(DEFAULT, good, before)).recovered
        assert await mesh.shown() == serial(leaf)
        fresh = mesh.leaf()
        await control.adopted(DEFAULT, control.secret(DEFAULT, certificate_secret(fresh)))
        assert await mesh.shown() == serial(fresh)


@VARIANTS
async def test_renewal_is_not_stranded_by_bad_roots(tmp_path: Path, delta: bool) -> None:  # noqa: FBT001 - as above
    """Envoy refuses a good certificate on account of bad roots; it goes live by itself once roots are good."""
    async with running(tmp_path, delta=delta) as (mesh, _):
        control, fresh = mesh.control, mesh.leaf()
        bad = control.secret(ROOTCA, roots_secret(b"no certificate at all"))
        version = control.secret(DEFAULT, certificate_secret(fresh))
        await control.refused(ROOTCA, bad)
        await control.adopted(DEFAULT, version)
        assert await mesh.shown() == serial(fresh)
        said = [notice.event for notice in control.notices if ROOTCA in getattr(notice.event, "versions", {})]
        assert sum(isinstance(event, Refused) for event in said) == 1, "bad roots are offered once"
        assert isinstance(said[-1], Adopted)


async def test_refusals_settle(tmp_path: Path) -> None:
    """A NACK never loops: after bad roots, a bad pair and a bad filter the wire falls silent."""
    async with running(tmp_path, delta=False) as (mesh, _):
        control = mesh.control
        versions = {
            ROOTCA: control.secret(ROOTCA, roots_secret(b"garbage")),
            DEFAULT: control.secret(DEFAULT, certificate_secret(Leaf(certificate=b"garbage", key=b"garbage"))),
            AUTHZ: control.put(EXTENSION_TYPE_URL, AUTHZ, policies(allow=False)[:-2] + b"\x00\x00"),
        }
        await asyncio.gather(*(control.refused(name, version) for name, version in versions.items()))
        quiet = -1
        async with asyncio.timeout(SECONDS):
            while quiet != len(control.notices):
                quiet = len(control.notices)
                await asyncio.sleep(0.5)  # half a second without a word
        assert len(control.notices) < 60
        fresh = mesh.leaf()
        control.secret(ROOTCA, roots_secret(mesh.pki.root() + b"\n"))
        await control.adopted(DEFAULT, control.secret(DEFAULT, certificate_secret(fresh)))
        assert await mesh.shown() == serial(fresh)


@VARIANTS
async def test_reconnecting_envoy_gets_what_changed(tmp_path: Path, delta: bool) -> None:  # noqa: FBT001 - as above
    """The server goes and comes back with a new certificate; Envoy comes back with its old version."""
    control, pki = Control(tmp_path / "s"), Pki()
    leaf = pki.leaf(str(ME))
    async with contextlib.AsyncExitStack() as stack:
        async with control.serving():
            mesh_ = await stack.enter_async_context(
                mesh(tmp_path, delta=delta, leaf=leaf, pki=pki, control=control)
            )
        assert await mesh_.shown() == serial(leaf), "an Envoy without its server goes on"
        fresh, before = pki.leaf(str(ME)), len(control.notices)
        version = control.secret(DEFAULT, certificate_secret(fresh))
        async with control.serving():
            await control.adopted(DEFAULT, version, before)
            assert await mesh_.shown() == serial(fresh)
            said = [n.event for n in control.notices[before:] if isinstance(n.event, Subscribed)]
            assert delta or content_hash(certificate_secret(leaf)) in {event.held for event in said}


@pytest.mark.parametrize(("anew", "last"), [(False, Adopted), (True, Refused)], ids=["same bytes", "other bytes"])
async def test_refused_roots_that_come_again(tmp_path: Path, anew: bool, last: type) -> None:  # noqa: FBT001 - as above
    """Right after a refusal Envoy acknowledges the same bytes unseen, and looks at others."""
    control, pki = Control(tmp_path / "s"), Pki()

    def body(mark: str = "") -> bytes:
        return roots_secret(f"no certificate at all {mark}".encode())

    def about_bad(event: Event) -> bool:
        return isinstance(event, Adopted | Refused) and "bad" in event.versions.values()

    async with contextlib.AsyncExitStack() as stack:
        async with control.serving():
            leaf = pki.leaf(str(ME))
            await stack.enter_async_context(mesh(tmp_path, delta=False, leaf=leaf, pki=pki, control=control))
        bad = Resource(name=ROOTCA, version="bad", body=body(), anew=body if anew else None)
        control.shelf.put(SECRET_TYPE_URL, [bad])
        for expected in (Refused, last):  # on streams of their own, which know nothing good to send in between
            before = len(control.notices)
            async with control.serving():
                notice = await control.heard(about_bad, before)
                assert isinstance(notice.event, expected)
