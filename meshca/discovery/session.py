"""One xDS subscription (a stream and a type URL) as a pure state table, for both protocol variants.

It decides what is sent next and what a client's answer means. It must never do I/O, read a clock or know a
protobuf type: time comes in as a monotonic number, messages as plain values. At most one push is awaited
at a time; a NACK alone never loops; silence never blocks the next update for longer than the answer timeout.

Decided here, where the xDS protocol leaves it open (docs/adr/0009 says why):
- These types have no wildcard: an empty list, also in a first delta request, subscribes to nothing, and `*`
  is a name like any other.
- A name that we do not have stays pending; one that vanishes later is not taken back from the client.
- After a NACK the last good value goes out once more under a new version, because Envoy answers every later
  secret with the old error until it gets a good one (envoy SdsApi; ADR 9).
- No two pushes have the same bytes where these can be written anew: Envoy acknowledges what it has refused when
  the same bytes come again. There, refused content goes out again after pauses that grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshca.discovery.event import (
    Adopted,
    Event,
    Overdue,
    Pending,
    Push,
    Refused,
    Resource,
    Stale,
    Subscribed,
    joint_version,
)
from meshca.discovery.state import Answer, Flight, Name
from meshca.errors import BadRequest

AGAIN = "~"  # between a content version and what makes it new to a client that has refused something
MAX_NAMES = 64  # names that one subscription may hold; a sidecar asks for three


@dataclass(slots=True, eq=False)
class Session:
    """The state of one subscription.

    Attributes:
        stream_id: unique among all streams of all processes; it makes nonces and repair versions unique.
        answer_timeout: seconds after which a push without an answer is reported and no longer waited for.
    """

    stream_id: str
    answer_timeout: float
    _names: dict[str, Name] = field(default_factory=dict, init=False)
    _resources: Mapping[str, Resource] = field(default_factory=dict, init=False)
    _flight: Flight | None = field(default=None, init=False)
    _unheard: set[str] = field(default_factory=set, init=False)  # sent in pushes gone past without an answer
    _count: int = field(default=0, init=False)
    _pending: frozenset[str] = field(default=frozenset(), init=False)
    _asked: bool = field(default=False, init=False)

    @property
    def names(self) -> frozenset[str]:
        """The names that the client is subscribed to."""
        return frozenset(self._names)

    @property
    def sent(self) -> Mapping[str, str]:
        """Content versions, by name, of the last push."""
        return self._flight.versions if self._flight is not None else {}

    @property
    def deadline(self) -> float | None:
        """The monotonic time at which the awaited answer becomes overdue; None when none is awaited."""
        return self._flight.deadline if self._flight is not None and self._awaiting() else None

    def ask(
        self, names: Sequence[str], *, nonce: str = "", version: str = "", error: str | None = None
    ) -> tuple[Event, ...]:
        """Take a state-of-the-world request: the whole list of names, and the answer to `nonce`, if any.

        The first request of a stream gets a full answer whatever nonce and version it carries (a client
        that reconnects). An outdated nonce makes the whole request void: the client repeats its names in
        its answer to the newer push.

        Raises:
            BadRequest: reason `too_many_names`; nothing has changed then.
        """
        _bound(len(set(names)))
        if not self._asked:
            self._asked = True
            return self._subscribe_to(names, held=version.partition(AGAIN)[0])
        if not nonce:
            if not self._awaiting():
                self._start_over()
            return self._subscribe_to(names)
        flight = self._flight_of(nonce)
        if flight is None:
            return (Stale(),)
        return self._take_answer(flight, version, error) + self._subscribe_to(names)

    def amend(
        self,
        subscribe: Sequence[str],
        unsubscribe: Sequence[str],
        *,
        nonce: str = "",
        error: str | None = None,
    ) -> tuple[Event, ...]:
        """Take a delta request: names to add and to drop, and the answer to `nonce`, if any.

        A name that is subscribed to again is sent again, as DeltaDiscoveryRequest asks. An outdated nonce
        voids only the answer, because a client does not repeat its changes.

        Raises:
            BadRequest: reason `too_many_names`; nothing has changed then.
        """
        names = dict.fromkeys(name for name in self._names if name not in unsubscribe)
        _bound(len(names | dict.fromkeys(subscribe)))
        self._asked = True
        events: tuple[Event, ...] = ()
        if nonce:
            flight = self._flight_of(nonce)
            events = (Stale(),) if flight is None else self._take_answer(flight, "", error)
        for name in subscribe:
            if name in self._names:
                self._names[name] = self._names[name].afresh()
        return events + self._subscribe_to([*names, *subscribe])

    def offer(self, resources: Mapping[str, Resource]) -> tuple[Event, ...]:
        """Learn what exists now; also called after each request that added names, to report missing ones.

        The mapping is kept, not copied: it must not change afterwards.
        """
        self._resources = resources
        for name, state in self._names.items():
            current = resources.get(name)
            if state.refused and current is not None and current.version != state.refused:
                state.refused = ""
                state.repair = False
        return self._note_pending()

    def forgive(self) -> None:
        """Another subscription of this client has recovered: give refused values one more try.

        Envoy refuses good secrets with the error of a bad one, so a refusal may not have been about the
        value. Each refused content gets this once, so that two bad values cannot revive each other for ever.
        """
        if self._flight is not None:
            self._flight.excused = True
        self._forgive(self._names)

    def tick(self, now: float) -> tuple[Event, ...]:
        """Stop waiting for an answer that is overdue, and report it; try what was refused long ago."""
        for name, state in self._names.items():
            if (current := self._resources.get(name)) is not None and current.anew is not None:
                state.insist(now)
        if self._flight is None or not self._awaiting() or now < self._flight.deadline:
            return ()
        self._flight.answer = Answer.LATE
        return (Overdue(versions=self._flight.versions),)

    def next_push(self, now: float) -> Push | None:
        """What to send now; None when an answer is awaited or the client has everything."""
        if self._awaiting():
            return None
        due = {name: value for name, state in self._names.items() if (value := self._due(name, state))}
        if not due:
            return None
        batch = self._batch(list(due))
        self._count += 1
        nonce = f"{self.stream_id}-{self._count}"
        outgoing = tuple(self._outgoing(due[name], nonce) for name in batch)
        version = joint_version(outgoing)
        if self._flight is not None and self._flight.answer is Answer.LATE:
            self._unheard |= self._flight.versions.keys()
        self._unheard -= set(batch)
        self._flight = Flight(
            nonce=nonce,
            version=version,
            resources=tuple(due[name] for name in batch),
            deadline=now + self.answer_timeout,
        )
        for name in batch:
            self._names[name].sent = due[name].version
            self._names[name].repair = False
        return Push(nonce=nonce, version=version, resources=outgoing)

    def _awaiting(self) -> bool:
        return self._flight is not None and self._flight.answer is Answer.AWAITED

    def _flight_of(self, nonce: str) -> Flight | None:
        return self._flight if self._flight is not None and self._flight.nonce == nonce else None

    def _due(self, name: str, state: Name) -> Resource | None:
        if state.repair:
            return state.good
        current = self._resources.get(name)
        if current is None or current.version in {state.sent, state.refused}:
            return None
        return current

    def _batch(self, due: list[str]) -> list[str]:
        """Repairs first and alone, since the client may refuse everything until it has them."""
        repairs = [name for name in due if self._names[name].repair]
        together = [name for name in due if not self._names[name].alone]
        return repairs[:1] or together or due[:1]

    def _outgoing(self, value: Resource, nonce: str) -> Resource:
        body = value.anew(nonce) if value.anew is not None else value.body
        return replace(value, version=self._wire_version(value, nonce), body=body)

    def _wire_version(self, value: Resource, nonce: str) -> str:
        """The content version, made unique when this client has refused something of that name."""
        state = self._names[value.name]
        again = state.ill or state.alone or state.retried == value.version
        return f"{value.version}{AGAIN}{nonce}" if again else value.version

    def _subscribe_to(self, names: Iterable[str], *, held: str = "") -> tuple[Event, ...]:
        before = self._names.keys()
        self._names = {name: self._names.get(name) or Name() for name in names}
        changed = before != self._names.keys()
        return (Subscribed(names=self.names, held=held),) if changed else ()

    def _note_pending(self) -> tuple[Event, ...]:
        missing = frozenset(name for name in self._names if name not in self._resources)
        fresh = missing - self._pending
        self._pending = missing
        return (Pending(names=fresh),) if fresh else ()

    def _start_over(self) -> None:
        """The client speaks as if the stream were new: it gets a full answer, also of what it refused."""
        self._names = {name: state.afresh() for name, state in self._names.items()}

    def _take_answer(self, flight: Flight, version: str, error: str | None) -> tuple[Event, ...]:
        self._send_again_what_was_unheard()
        if error is not None:
            return self._refuse(flight, error)
        # After a NACK Envoy goes on naming the refused nonce, with its old version, when its names change.
        if flight.answer is Answer.NACKED and version != flight.version:
            return ()
        return self._adopt(flight)

    def _send_again_what_was_unheard(self) -> None:
        """The client answers again; what it said to pushes gone past was void, so they are due once more."""
        for name in self._unheard & self._names.keys():
            self._names[name].sent = ""
        self._unheard.clear()

    def _adopt(self, flight: Flight) -> tuple[Event, ...]:
        flight.answer = Answer.ACKED
        recovered = False
        for value in flight.resources:
            state = self._names.get(value.name)
            if state is None:
                continue
            # Content that is good at the second try was not at fault, so its recovery clears no other name.
            recovered = recovered or (state.ill and state.retried != value.version)
            state.good, state.ill, state.alone, state.repair = value, False, False, False
            if state.refused == value.version:
                state.refused = ""
        if recovered:
            self._forgive(self._names.keys() - flight.versions.keys())
        return (Adopted(versions=flight.versions, recovered=recovered),)

    def _forgive(self, names: Iterable[str]) -> None:
        for name in names:
            self._names[name].forgive()

    def _refuse(self, flight: Flight, error: str) -> tuple[Event, ...]:
        if flight.answer is Answer.NACKED:
            return ()
        taken_back = flight.answer is Answer.ACKED
        flight.answer = Answer.NACKED
        if not taken_back:
            for value in flight.resources:
                self._note_refusal(flight, value)
        return (Refused(versions=flight.versions, error=error),)

    def _note_refusal(self, flight: Flight, value: Resource) -> None:
        state = self._names.get(value.name)
        if state is None:
            return
        state.alone = True
        if len(flight.resources) > 1:  # a NACK names no resource: send each by itself to learn which it was
            state.sent = ""
            return
        state.ill = True
        current = self._resources.get(value.name)
        if current is not None and current.version != value.version:
            return  # a repair, or something newer is due anyway
        if flight.excused and state.retried != value.version:
            state.retry(value.version)
            return
        state.refuse(value.version)
        state.repair = state.good is not None and state.good.version != value.version


def _bound(count: int) -> None:
    if count > MAX_NAMES:
        raise BadRequest("too_many_names", f"a stream may name at most {MAX_NAMES} resources of a type")
