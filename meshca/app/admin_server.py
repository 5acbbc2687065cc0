"""Serves administrators: whoever is on this machine on one Unix socket, and whom a worker has proven on another.

Only the parent has these sockets, because it owns what they change. On the first a peer is who the kernel says,
and a name that it claims is refused; on the second only our own workers may speak, and they must name whom they
proved. Nothing else is ever served here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import grpc

from meshca._proto.meshca.admin.v1 import admin_pb2_grpc, roots_pb2_grpc
from meshca.background import running
from meshca.clock import Clock
from meshca.config.admin import AdminConfig
from meshca.errors import BadRequest, Denied
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.port import LedgerStore
from meshca.rotation.commands import RootCommands
from meshca.rpc.admin import Admin
from meshca.rpc.admin_entry import Permitted, Who
from meshca.rpc.roles import Administrator, People, uid_name
from meshca.rpc.root_second_person import SERVICE as ROOTS
from meshca.rpc.root_second_person import SecondPerson
from meshca.rpc.root_service import Roots
from meshca.rpc.status_report import StatusReport
from meshca.wire.interceptors import Guarded
from meshca.wire.open_calls import Context
from meshca.wire.peercred import PeerGate, open_gate

GRACE_SECONDS: Final = 1.0  # for calls under way at the end
IDENTITY: Final = "meshca-admin-identity"  # metadata of a worker's call: the SPIFFE ID that it has proven
ADMIN: Final = "meshca.admin.v1.Admin"
_PRIVATE: Final = 0o600
_SHARED: Final = 0o660  # other users must be in the socket's group, besides being listed
_ROOT: Final = 0  # may open any file


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """What administrators are served with.

    Attributes:
        config: who they are, and what needs two of them.
        status: tells how the server is now.
        ledger: the record of every signature.
        roots: what can be asked of the roots.
        clock: for pauses and the time of requests.
    """

    config: AdminConfig
    status: Callable[[], Awaitable[StatusReport]]
    ledger: LedgerStore
    roots: RootCommands
    clock: Clock

    def add_to(self, server: grpc.aio.Server, who: Who) -> None:
        """Serve both services to whoever `who` proves."""
        people = People(self.config, os.geteuid())
        second_person = SecondPerson(
            commands=self.roots,
            people=people,
            dangers=self.config.second_person,
            lifetime=self.config.request_lifetime,
            clock=self.clock,
        )
        # What generated code calls of a server and of a servicer, these have.
        registry = cast("grpc.aio.Server", Guarded(server, private=True))
        admin = Permitted(Admin(self.status, self.ledger), ADMIN, who)
        roots = Permitted(Roots(self.roots, second_person, self.clock), ROOTS, who)
        admin_pb2_grpc.add_AdminServicer_to_server(cast("admin_pb2_grpc.AdminServicer", admin), registry)
        roots_pb2_grpc.add_RootsServicer_to_server(cast("roots_pb2_grpc.RootsServicer", roots), registry)


@contextlib.asynccontextmanager
async def admin_serving(path: Path, administration: Administration) -> AsyncIterator[None]:
    """Serve the administrators on this machine inside the block.

    Args:
        path: of the socket; its folder exists.
        administration: what they are served with.

    Raises:
        ConfigError: the path is in use, too long, or cannot be bound.
    """
    people = People(administration.config, os.geteuid())
    mode = _PRIVATE if people.uids <= {os.geteuid(), _ROOT} else _SHARED
    async with _serving(path, administration, people.uids, mode, lambda gate: _local(gate, people)):
        yield


@contextlib.asynccontextmanager
async def door_serving(
    path: Path, administration: Administration, workers: Callable[[], Collection[int]]
) -> AsyncIterator[None]:
    """Serve those administrators inside the block whom a worker has proven.

    Args:
        path: of the socket, in a folder that is the server's own.
        administration: what they are served with.
        workers: process ids of the workers that have not ended, as of now.

    Raises:
        ConfigError: the path is in use, too long, or cannot be bound.
    """
    people = People(administration.config, os.geteuid())
    own = {os.geteuid()}
    async with _serving(path, administration, own, _PRIVATE, lambda gate: _forwarded(gate, people, workers)):
        yield


@contextlib.asynccontextmanager
async def _serving(
    path: Path,
    administration: Administration,
    uids: Collection[int],
    mode: int,
    who: Callable[[PeerGate], Who],
) -> AsyncIterator[None]:
    clock = administration.clock
    async with open_gate(path, allowed_uids=uids, clock=clock, mode=mode, quiet=True) as gate:
        server = grpc.aio.server()
        administration.add_to(server, who(gate))
        server.add_insecure_port(gate.inner_address)
        await server.start()
        try:
            async with running("admin", gate.run, clock):
                yield
        finally:
            await server.stop(GRACE_SECONDS)


def _local(gate: PeerGate, people: People) -> Who:
    """Who calls is whose process connected."""

    def who(context: Context) -> Administrator:
        peer = gate.peer_of(context.peer())
        if _claimed(context):
            raise Denied("claimed_identity", f"uid {peer.uid} claims to speak for another; only a worker may")
        return people.named(uid_name(peer.uid))

    return who


def _forwarded(gate: PeerGate, people: People, workers: Callable[[], Collection[int]]) -> Who:
    """Who calls is whom one of our workers has proven."""

    def who(context: Context) -> Administrator:
        peer = gate.peer_of(context.peer())
        if peer.pid not in workers():
            raise Denied("not_a_worker", f"process {peer.pid} is not one of our workers")
        match _claimed(context):
            case [str(name)]:
                return people.named(_identity(name))
            case _:
                raise Denied("claimed_identity", f"expected exactly one {IDENTITY}")

    return who


def _claimed(context: Context) -> list[str | bytes]:
    return [value for key, value in context.invocation_metadata() or () if key == IDENTITY]


def _identity(name: str) -> str:
    """The name, if it is a workload's: a worker proves no Unix user."""
    try:
        return str(SpiffeId.parse(name))
    except BadRequest as error:
        raise Denied("claimed_identity", error.detail) from None
