"""The administrator's services on a worker's TLS ports, over real connections to a parent's real socket.

The worker and the parent are this process; how a caller is proven by its certificate is tests/authn's to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from meshca._proto.meshca.admin.v1 import admin_pb2, roots_pb2
from meshca._proto.meshca.admin.v1.admin_pb2_grpc import AdminStub
from meshca._proto.meshca.admin.v1.roots_pb2_grpc import RootsStub
from meshca.app.admin_door import AdminDoor
from meshca.app.admin_server import IDENTITY
from meshca.clock import SystemClock
from meshca.config.admin import AdminConfig, AdminRole
from meshca.errors import Denied, Exhausted, MeshcaError, Unauthenticated
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from meshca.rotation.commands import Asked
from meshca.rpc.roles import TABLE, People
from meshca.secret import Secret
from meshca.wire.interceptors import Guarded
from meshca.wire.status import DETAIL, REASON, REQUEST_ID
from meshca.wire.tls import Serving, ServingMaterial, server_options
from tests.fakes.admin_server import administration, workers_socket
from tests.fakes.callers import caller
from tests.fakes.root_commands import FakeRootCommands
from tests.fakes.root_reports import gate
from tests.real.pki import Pki

OPERATOR = "spiffe://cluster.local/ns/ops/sa/operator"
VIEWER = "spiffe://cluster.local/ns/ops/sa/viewer"
WORKLOAD = "spiffe://cluster.local/ns/shop/sa/web"
CONFIG = AdminConfig(
    roles=(
        AdminRole(role="operator", spiffe_ids=(OPERATOR,)),
        AdminRole(role="viewer", spiffe_ids=(VIEWER,)),
    )
)


async def prove(credential: Credential) -> Caller:
    """By the certificate alone."""
    assert credential.unverified_token is None
    if credential.peer_certificate is None:
        raise Unauthenticated("no_credential", "no client certificate was shown")
    names = x509.load_pem_x509_certificate(credential.peer_certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    (uri,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    account = SpiffeId.parse(uri).service_account()
    return caller(account.namespace, account.name)


@dataclass
class Served:
    """A worker with both ports."""

    pki: Pki
    token: int
    mtls: int

    @contextlib.asynccontextmanager
    async def channel(self, identity: str = "") -> AsyncIterator[grpc.aio.Channel]:
        """A connection of an identity to the mTLS port; of nobody to the token port."""
        leaf = self.pki.leaf(identity) if identity else None
        credentials = grpc.ssl_channel_credentials(
            self.pki.root(), leaf.key if leaf else None, leaf.certificate if leaf else None
        )
        port = self.mtls if identity else self.token
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            yield channel


@contextlib.asynccontextmanager
async def worker(parent: Path, prove: Any = prove) -> AsyncIterator[Served]:
    """A worker whose parent has a socket."""
    pki = Pki()
    leaf = pki.leaf(dns=["localhost"])
    chain = (leaf.certificate + pki.root()).decode()
    material = ServingMaterial(chain=chain, key=Secret(leaf.key.decode()), client_roots=pki.root().decode())
    serving = Serving(material)
    server = grpc.aio.server(options=server_options(timedelta(minutes=30)))
    door = AdminDoor(
        prove=prove, people=People(CONFIG, 0), parent=parent, trust_domain=TrustDomain("cluster.local")
    )
    door.add_to(Guarded(server))
    ports = [
        server.add_secure_port("localhost:0", serving.credentials(client_certificates=asked))
        for asked in (False, True)
    ]
    await server.start()
    yield Served(pki, *ports)
    await server.stop(None)
    await door.close()


@pytest.fixture
def commands() -> FakeRootCommands:
    """One root."""
    return FakeRootCommands(SystemClock())


@pytest.fixture
async def served(commands: FakeRootCommands) -> AsyncIterator[Served]:
    """A worker and its parent."""
    async with workers_socket(administration(config=CONFIG, roots=commands)) as path, worker(path) as served:
        yield served


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str | bytes]]:
    """Code, sentence without its request id, and trailers of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    told = dict(caught.value.trailing_metadata() or ())
    sentence = (caught.value.details() or "").replace(str(told.pop(REQUEST_ID, "")), "-")
    return caught.value.code(), sentence, told


STRANGER = (
    grpc.StatusCode.PERMISSION_DENIED,
    "the caller may not have what it asks for (reason=no_role request_id=-)",
    {REASON: "no_role"},
)


async def test_a_viewer_reads(served: Served) -> None:
    """Answers and streams come from the parent."""
    async with served.channel(VIEWER) as channel:
        stub: Any = RootsStub(channel)
        status = await stub.GetRootStatus(roots_pb2.GetRootStatusRequest())
        watched = await stub.WatchRotation(roots_pb2.WatchRotationRequest()).read()
        admin: Any = AdminStub(channel)
        version = (await admin.GetStatus(admin_pb2.GetStatusRequest())).version
    assert (status.generation, watched.generation, version) == (1, 1, "0.1.0")


async def test_an_operator_acts_in_its_own_name(served: Served, commands: FakeRootCommands) -> None:
    """The one that its certificate proves."""
    async with served.channel(OPERATOR) as channel:
        stub: Any = RootsStub(channel)
        await stub.PrepareRoot(roots_pb2.PrepareRootRequest(reason="yearly"))
    assert commands.asked == [("prepare", Asked(by=OPERATOR, reason="yearly"))]


@pytest.mark.parametrize("rpc", sorted(TABLE))
@pytest.mark.parametrize("identity", [WORKLOAD, ""], ids=["workload", "token port"])
async def test_whoever_has_no_role_is_told_the_same_for_each_rpc(served: Served, rpc: str, identity: str) -> None:
    """Also when the message is no message."""
    async with served.channel(identity) as channel:
        if rpc.endswith(("/WatchRotation", "/ListIssuances")):
            stream: Any = channel.unary_stream(rpc)
            found = await refusal(stream(b"\xff").read())
        else:
            unary: Any = channel.unary_unary(rpc)
            found = await refusal(unary(b"\xff"))
    assert found == STRANGER


@contextlib.asynccontextmanager
async def failing(prove: Any) -> AsyncIterator[Any]:
    """A client of a worker that proves callers in another way."""
    async with (
        workers_socket(administration(config=CONFIG)) as path,
        worker(path, prove) as served,
        served.channel(OPERATOR) as channel,
    ):
        yield RootsStub(channel)


@pytest.mark.parametrize(
    "error", [Unauthenticated("unknown_serial", "secret"), Denied("no_rule", "secret")], ids=["unproven", "denied"]
)
async def test_why_somebody_is_not_proven_is_told_to_nobody(error: MeshcaError) -> None:
    """A stranger is a stranger."""

    async def fail(_: Credential) -> Caller:
        raise error

    async with failing(fail) as stub:
        assert await refusal(stub.ListRoots(roots_pb2.ListRootsRequest())) == STRANGER


async def test_who_asks_too_often_is_told_so() -> None:
    """That says nothing of roles."""

    async def fail(_: Credential) -> Caller:
        raise Exhausted("identity_quota", "empty", retry_after=1.0)

    async with failing(fail) as stub:
        found = await refusal(stub.ListRoots(roots_pb2.ListRootsRequest()))
    assert found[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("claimed", [OPERATOR, "uid 0"])
async def test_a_name_that_a_client_sends_is_not_passed_on(
    served: Served, commands: FakeRootCommands, claimed: str
) -> None:
    """A viewer stays a viewer, a stranger a stranger."""
    metadata = ((IDENTITY, claimed),)
    request = roots_pb2.PrepareRootRequest()
    async with served.channel(VIEWER) as channel:
        stub: Any = RootsStub(channel)
        assert (await refusal(stub.PrepareRoot(request, metadata=metadata)))[2][REASON] == "role"
    async with served.channel(WORKLOAD) as channel:
        stub = RootsStub(channel)
        assert await refusal(stub.PrepareRoot(request, metadata=metadata)) == STRANGER
    assert commands.asked == []


async def test_the_parents_refusal_reaches_the_client(served: Served, commands: FakeRootCommands) -> None:
    """With its code, its reason and its detail."""
    async with served.channel(OPERATOR) as channel:
        stub: Any = RootsStub(channel)
        new = (await stub.PrepareRoot(roots_pb2.PrepareRootRequest())).root.id
        commands.gate = gate(why="web-1 does not trust it")
        code, sentence, told = await refusal(stub.ActivateRoot(roots_pb2.ActivateRootRequest(root=new)))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert sentence == "this cannot be done now (reason=gate_closed request_id=-)"
    assert told == {REASON: "gate_closed", DETAIL: b"web-1 does not trust it"}


async def test_a_stream_ends_as_the_parent_ends_it(served: Served, commands: FakeRootCommands) -> None:
    """With its reason."""
    commands.down = True
    async with served.channel(VIEWER) as channel:
        stub: Any = RootsStub(channel)
        found = await refusal(stub.WatchRotation(roots_pb2.WatchRotationRequest()).read())
    assert (found[0], found[2][REASON]) == (grpc.StatusCode.UNAVAILABLE, "store")


async def test_a_message_that_is_none_is_refused_by_the_parent(served: Served) -> None:
    """To an administrator it is said."""
    async with served.channel(VIEWER) as channel:
        unary: Any = channel.unary_unary("/meshca.admin.v1.Roots/ListRoots")
        found = await refusal(unary(b"\xff"))
    assert (found[0], found[2][REASON]) == (grpc.StatusCode.INVALID_ARGUMENT, "message")


@pytest.mark.parametrize("streams", [False, True], ids=["call", "stream"])
async def test_a_parent_that_is_gone(tmp_path: Path, *, streams: bool) -> None:
    """UNAVAILABLE in our own words: gRPC's name paths."""
    async with worker(tmp_path / "none.sock") as served, served.channel(VIEWER) as channel:
        stub: Any = RootsStub(channel)
        if streams:
            found = await refusal(stub.WatchRotation(roots_pb2.WatchRotationRequest()).read())
        else:
            found = await refusal(stub.ListRoots(roots_pb2.ListRootsRequest()))
    assert (found[0], found[2]) == (grpc.StatusCode.UNAVAILABLE, {REASON: "parent"})
    assert "none.sock" not in found[1]
