"""xDS streams over grpc.aio: reads requests, lets the pure sessions decide, writes what they say.

An idle stream is one waiting task and a few small objects; a change starts a task only for a stream that
has something to send, and only until it is sent. It must never interpret resources, and never map errors to
gRPC statuses: they are raised to the outermost layer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from meshca.clock import Clock
from meshca.discovery.event import Adopted, Closed, Event, Push, Sent
from meshca.discovery.session import Session
from meshca.discovery.source import Source
from meshca.errors import BadRequest, MeshcaError, Unauthenticated, Unavailable
from meshca.wire.node import Node
from meshca.wire.xds_messages import Variant

Context = grpc.aio.ServicerContext[Any, Any]
SWEEP_SECONDS = 0.5  # how exactly overdue answers and ended proofs are noticed
ANSWER_SECONDS = 10.0  # Envoy answers within milliseconds; loaded machines take longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something happened on a stream.

    Attributes:
        peer: gRPC's name of the connection; equal for all streams of one connection.
        stream: unique name of the stream; a subscription is a stream and a type URL.
        node: what the client calls itself, as of its latest message.
        type_url: of the subscription.
        event: what happened.
    """

    peer: str
    stream: str
    node: Node
    type_url: str
    event: Event


Observer = Callable[[Notice], None]


def ignore(_: Notice) -> None:
    """An observer that does not care."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms one stream is served.

    Attributes:
        source: what the subscriber should hold.
        observer: told everything that happens, from the event loop; it must not block.
        until: when the proof of who the caller is ends; the stream ends then. None for no end.
        node_required: whether the first message must carry a node with an id.
    """

    source: Source
    observer: Observer = ignore
    until: datetime | None = None
    node_required: bool = True


class Streams:
    """All xDS streams of a server.

    Args:
        clock: for answer timeouts and the end of proofs.
        answer_timeout: seconds after which an unanswered push is reported and no longer waited for. A client that
            reads nothing for so long is let go: nothing later would reach it, nor be reported.
    """

    def __init__(self, clock: Clock, *, answer_timeout: float = ANSWER_SECONDS) -> None:
        self.clock = clock
        self.answer_timeout = answer_timeout
        self._by_peer: dict[str, set[_Stream]] = {}
        self._closing: MeshcaError | None = None

    def __len__(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._by_peer.values()))

    async def serve(self, context: Context, variant: Variant, types: Collection[str], terms: Terms) -> None:
        """Serve one stream until the client ends it; called from its handler.

        Raises:
            BadRequest: the client broke a rule of the protocol.
            Unauthenticated: reason `proof_ended`, when it had ended before the stream began. A clock's leeway
                is for single calls: a stream would end at once, and its client would come back at once.
            Unavailable: reason `proof_ended` or that of `end_all`; the client should come back.
        """
        if self._closing is not None:
            raise self._closing
        if terms.until is not None and self.clock.now() >= terms.until:
            raise Unauthenticated("proof_ended", "what proves the caller has ended; a stream needs a fresh proof")
        stream = _Stream(self, context, variant, types, terms)
        siblings = self._by_peer.setdefault(stream.peer, set())
        siblings.add(stream)
        try:
            await stream.run()
        finally:
            siblings.discard(stream)
            if not siblings:
                self._by_peer.pop(stream.peer, None)

    async def run(self) -> None:
        """Watch the time for all streams; runs until cancelled."""
        while True:
            await self.clock.sleep(SWEEP_SECONDS)
            now, instant = self.clock.monotonic(), self.clock.now()
            for stream in self._all():
                stream.tick(now, instant)

    def end_all(self, error: MeshcaError) -> None:
        """End every stream, and each that is still to come, with this error (drain)."""
        self._closing = error
        for stream in self._all():
            stream.end(error)

    def end_source(self, source: Source, error: MeshcaError) -> None:
        """End every stream that is served from this source."""
        for stream in self._all():
            if stream.source is source:
                stream.end(error)

    def recovered(self, stream: _Stream) -> None:
        """Let the other streams of this client retry what may have been refused on its account."""
        for other in tuple(self._by_peer.get(stream.peer, ())):
            if other is not stream:
                other.forgive()

    def _all(self) -> list[_Stream]:
        return [stream for streams in self._by_peer.values() for stream in streams]


class _Stream:
    """One stream: sessions by type URL, a reader (the handler's task) and, while needed, a writer."""

    __slots__ = (
        "_context", "_ended", "_id", "_node", "_owner", "_sessions", "_task", "_terms", "_types", "_variant",
        "_writer", "_writing", "peer",
    )  # fmt: skip

    def __init__(
        self, owner: Streams, context: Context, variant: Variant, types: Collection[str], terms: Terms
    ) -> None:
        self.peer: str = context.peer()
        self._owner = owner
        self._context = context
        self._variant = variant
        self._types = types
        self._terms = terms
        self._id = secrets.token_hex(6)
        self._node: Node | None = None
        self._sessions: dict[str, Session] = {}
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._writing: float | None = None  # since when, for the message on its way
        self._ended: MeshcaError | None = None

    @property
    def source(self) -> Source:
        """What the subscriber should hold."""
        return self._terms.source

    async def run(self) -> None:
        """Read until the client stops; `end` from outside turns into its error."""
        self._task = asyncio.current_task()
        unwatch = self._terms.source.watch(self.wake)
        try:
            while await self._read():
                await self._write_due()
        except asyncio.CancelledError:
            if self._ended is None or self._task is None:
                raise
            self._task.uncancel()
            raise self._ended from None
        finally:
            unwatch()
            self._task = None
            ended, self._sessions = self._sessions, {}
            for type_url, session in ended.items():  # before anything is waited for: that may be cancelled
                self._tell(type_url, (Closed(names=session.names),))
            await self._stop_writer()

    def end(self, error: MeshcaError) -> None:
        """Let `run` raise this error."""
        if self._ended is None and self._task is not None:
            self._ended = error
            self._task.cancel()

    def wake(self) -> None:
        """The source has changed."""
        for type_url, session in self._sessions.items():
            self._tell(type_url, session.offer(self._terms.source.resources(type_url)))
        self._write_soon()

    def forgive(self) -> None:
        """Another stream of this client has recovered from a refusal."""
        for session in self._sessions.values():
            session.forgive()
        self._write_soon()

    def tick(self, now: float, instant: datetime) -> None:
        """Notice what only time brings."""
        if self._terms.until is not None and instant >= self._terms.until:
            self.end(Unavailable("proof_ended", "what proved the caller has ended; prove it again"))
            return
        for type_url, session in self._sessions.items():
            self._tell(type_url, session.tick(now))
        if self._writing is not None and now - self._writing >= self._owner.answer_timeout:
            self.end(Unavailable("not_reading", "nothing was read for as long as an answer may take"))
        self._write_soon()

    async def _read(self) -> bool:
        """Take the next request, if there is one; it is not held while the next is awaited."""
        message = await self._context.read()
        if message is grpc.aio.EOF:
            return False
        request = self._variant.read(message, self._types)
        if request.node is not None:
            self._node = request.node
        if self._terms.node_required and (self._node is None or not self._node.id):
            raise BadRequest("node", "the first message of a stream must carry a node with an id")
        session = self._sessions.get(request.type_url)
        if session is None:
            session = self._open(request.type_url)
        before = session.names
        events = request.put_to(session)
        if added := session.names - before:
            await self._terms.source.ready(request.type_url, added)
            events += session.offer(self._terms.source.resources(request.type_url))
        self._tell(request.type_url, events)
        return True

    def _open(self, type_url: str) -> Session:
        stream_id = f"{self._id}{len(self._sessions)}"
        session = Session(stream_id=stream_id, answer_timeout=self._owner.answer_timeout)
        self._sessions[type_url] = session
        return session

    def _tell(self, type_url: str, events: Collection[Event]) -> None:
        for event in events:
            notice = Notice(
                peer=self.peer, stream=self._id, node=self._node or Node(), type_url=type_url, event=event
            )
            self._terms.observer(notice)
            if isinstance(event, Adopted) and event.recovered:
                self._owner.recovered(self)

    def _next(self) -> tuple[str, Push] | None:
        now = self._owner.clock.monotonic()
        for type_url, session in self._sessions.items():
            push = session.next_push(now)
            if push is not None:
                self._tell(type_url, (Sent(versions=session.sent),))
                return type_url, push
        return None

    async def _write_due(self) -> None:
        if self._writing is None and (due := self._next()) is not None:
            await self._write(due)

    def _write_soon(self) -> None:
        if self._writing is not None or self._task is None or self._ended is not None:
            return
        if (due := self._next()) is not None:
            self._writing = self._owner.clock.monotonic()
            self._writer = asyncio.create_task(self._write(due))
            self._writer.add_done_callback(self._written)

    async def _write(self, due: tuple[str, Push] | None) -> None:
        """Write until nothing is due. A slow client holds up only itself: what comes next is decided late."""
        try:
            while due is not None:
                self._writing = self._owner.clock.monotonic()
                await self._context.write(self._variant.write(*due))
                due = self._next()
        finally:
            self._writing = None

    def _written(self, writer: asyncio.Task[None]) -> None:
        if not writer.cancelled() and writer.exception() is not None:
            self.end(Unavailable("stream_broken", "the stream could not be written to"))

    async def _stop_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.cancel()
            await asyncio.wait([self._writer])
