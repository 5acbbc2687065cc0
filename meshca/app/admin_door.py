"""The administrator's services on a worker's mTLS port: proves who calls, and passes the call on to the parent.

The parent owns what administrators change, so nothing is answered here. Whoever has no role is told the same for
every RPC, however they failed. A name that a client sends is never passed on, only the one that its certificate
proves; its token is not looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote

import grpc

from meshca._proto.meshca.admin.v1 import admin_pb2, roots_pb2
from meshca.app.admin_server import IDENTITY
from meshca.errors import Denied, Unauthenticated, Unavailable
from meshca.identity.caller import Caller, Credential
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.rpc.roles import People, deny_stranger
from meshca.rpc.status_messages import MAX_ANSWER_BYTES
from meshca.wire.credentials import peer_certificate
from meshca.wire.interceptors import Guarded
from meshca.wire.open_calls import Context
from meshca.wire.status import DETAIL, REASON, REQUEST_ID

LONGEST_SECONDS: Final = 60.0  # that the parent may take for one answer
_TOLD: Final = frozenset({REASON, DETAIL, REQUEST_ID})  # trailers of the parent that the client is shown
_SERVICES: Final = (
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
    roots_pb2.DESCRIPTOR.services_by_name["Roots"],
)
_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),  # a socket's path is none that HTTP/2 servers must take
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
)


class AdminDoor:
    """Passes administrators' calls on.

    Args:
        prove: proves a caller by its certificate.
        people: who has a role.
        parent: the socket of the parent.
        trust_domain: of the identities.
    """

    def __init__(
        self,
        *,
        prove: Callable[[Credential], Awaitable[Caller]],
        people: People,
        parent: Path,
        trust_domain: TrustDomain,
    ) -> None:
        self._prove = prove
        self._people = people
        self._address = f"unix:{quote(str(parent))}"
        self._trust_domain = trust_domain
        self._channel: grpc.aio.Channel | None = None

    def add_to(self, guarded: Guarded) -> None:
        """Serve both services."""
        for service in _SERVICES:
            handlers = {
                method.name: self._handler(f"/{service.full_name}/{method.name}", streams=method.server_streaming)
                for method in service.methods
            }
            guarded.add_registered_method_handlers(service.full_name, handlers)

    async def close(self) -> None:
        """Close the connection to the parent."""
        if self._channel is not None:
            await self._channel.close()

    def _handler(self, rpc: str, *, streams: bool) -> grpc.RpcMethodHandler[Any, Any]:
        if streams:
            return grpc.unary_stream_rpc_method_handler(self._stream(rpc), bytes, bytes)
        return grpc.unary_unary_rpc_method_handler(self._unary(rpc), bytes, bytes)

    def _unary(self, rpc: str) -> Callable[..., Any]:
        async def passed_on(request: bytes, context: Context) -> bytes:
            name = await self._proven(context)
            call: Any = self._parent().unary_unary(rpc)
            seconds = min(context.time_remaining() or LONGEST_SECONDS, LONGEST_SECONDS)  # None: no deadline
            try:
                return bytes(await call(request, metadata=((IDENTITY, name),), timeout=seconds))
            except grpc.aio.AioRpcError as error:
                await _end(context, error)

        return passed_on

    def _stream(self, rpc: str) -> Callable[..., Any]:
        async def passed_on(request: bytes, context: Context) -> AsyncIterator[bytes]:
            name = await self._proven(context)
            ask: Any = self._parent().unary_stream(rpc)
            call = ask(request, metadata=((IDENTITY, name),))
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                await _end(context, error)
            finally:
                call.cancel()  # does nothing to a call that is over

        return passed_on

    def _parent(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        return self._channel

    async def _proven(self, context: Context) -> str:
        """The identity of a caller that has a role.

        Raises:
            Denied: reason `no_role`.
            Exhausted, Unavailable: that could not be decided now.
        """
        credential = Credential(peer_certificate=peer_certificate(context))
        try:
            caller = await self._prove(credential)
        except (Unauthenticated, Denied) as error:
            log.info("admin.not_proven", reason=error.reason, detail=error.detail)
            deny_stranger("who calls")
        name = str(caller.identity(self._trust_domain))
        if not self._people.named(name).held:
            deny_stranger(name)
        return name


async def _end(context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
    """End a call as the parent ended it; what gRPC itself says of the way there is not for clients.

    Raises:
        Unavailable: reason `parent`, when the parent did not say anything.
    """
    told = tuple((key, value) for key, value in error.trailing_metadata() or () if key in _TOLD)
    if REQUEST_ID not in dict(told):
        raise Unavailable("parent", f"the parent does not answer ({error.code().name})")
    await context.abort(error.code(), error.details() or "", told)
    raise AssertionError
