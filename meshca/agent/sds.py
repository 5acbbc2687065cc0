"""The agent's socket for its Envoys: SDS and ECDS over the gate that knows who connects.

Nobody is served whose user id is not allowed, and every connection and answer is in the log with its pid and
uid. What is served is the holding's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc.aio

from meshca.agent.envoys import Envoys
from meshca.agent.holding import Holding
from meshca.clock import Clock
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Sent, Stale, Subscribed
from meshca.errors import Unavailable
from meshca.log import log
from meshca.wire.interceptors import Guarded
from meshca.wire.peercred import Peer, PeerGate, open_gate
from meshca.wire.tls import MAX_MESSAGE_BYTES
from meshca.wire.xds_services import EXTENSIONS, SECRETS, add_service
from meshca.wire.xds_streams import Context, Notice, Streams, Terms

GRACE_SECONDS = 1.0  # for answers on their way when the agent stops
_LEVELS: Final[dict[type, tuple[str, str]]] = {
    Subscribed: ("info", "envoy.subscribed"),
    Sent: ("debug", "envoy.sent"),
    Adopted: ("info", "envoy.acknowledged"),
    Refused: ("error", "envoy.refused"),
    Overdue: ("warning", "envoy.overdue"),
    Pending: ("warning", "envoy.pending"),
    Stale: ("debug", "envoy.stale"),
    Closed: ("info", "envoy.closed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where Envoys connect.

    Attributes:
        path: the socket, mode 0660.
        allowed_uids: user ids that may connect; the empty set lets nobody in.
        answer_timeout: seconds after which an Envoy that does not answer is no longer waited for.
    """

    path: Path
    allowed_uids: frozenset[int]
    answer_timeout: float


class EnvoySocket:
    """Serves Envoys; made by `open_socket`.

    Args:
        gate: accepts connections.
        holding: what every Envoy gets.
        envoys: told what they do with it.
        changed: called after each notice.
        streams: the xDS streams.
    """

    def __init__(
        self, gate: PeerGate, holding: Holding, envoys: Envoys, changed: Callable[[], None], streams: Streams
    ) -> None:
        self._gate = gate
        self._holding = holding
        self._envoys = envoys
        self._changed = changed
        self._streams = streams

    async def admit(self, context: Context) -> Terms:
        """The terms for one stream.

        Raises:
            Unauthenticated: it did not come through the gate.
        """
        peer = self._gate.peer_of(context.peer())
        return Terms(source=self._holding, observer=partial(self._noticed, peer))

    async def run(self) -> None:
        """Accept, and watch the time of all streams; runs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._gate.run())
            tasks.create_task(self._streams.run())

    def _noticed(self, peer: Peer, notice: Notice) -> None:
        level, event = _LEVELS[type(notice.event)]
        fields = {"pid": peer.pid, "uid": peer.uid, "node": notice.node.id, **_fields(notice.event)}
        getattr(log, level)(event, **fields)
        self._envoys.observe(notice, peer.pid)
        self._changed()


def _fields(event: Event) -> dict[str, Any]:
    """What of an event goes into the log."""
    if isinstance(event, Sent | Adopted | Overdue):
        return {"versions": dict(event.versions)}
    if isinstance(event, Refused):
        return {"versions": dict(event.versions), "error": event.error}
    return {} if isinstance(event, Stale) else {"names": sorted(event.names)}


@contextlib.asynccontextmanager
async def open_socket(
    door: Door, holding: Holding, envoys: Envoys, changed: Callable[[], None], clock: Clock
) -> AsyncIterator[EnvoySocket]:
    """Serve SDS and ECDS at a path; gone, with its file, at the end.

    Args:
        door: the path, and who may connect.
        holding: what every Envoy gets.
        envoys: told what they do with it.
        changed: called after each notice.
        clock: for the timeouts.

    Raises:
        ConfigError: the path is in use or cannot be used.
    """
    async with open_gate(door.path, allowed_uids=door.allowed_uids, clock=clock) as gate:
        streams = Streams(clock, answer_timeout=door.answer_timeout)
        socket = EnvoySocket(gate, holding, envoys, changed, streams)
        server = grpc.aio.server(options=(("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),))
        for service in (SECRETS, EXTENSIONS):
            add_service(Guarded(server), service, streams, socket.admit)
        server.add_insecure_port(gate.inner_address)
        await server.start()
        try:
            yield socket
        finally:
            streams.end_all(Unavailable("stopping", "the agent is stopping"))
            await server.stop(GRACE_SECONDS)
