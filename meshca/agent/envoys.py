"""Which connected Envoys have adopted what. Pure: notices in, a verdict out.

An acknowledgement alone is not adoption: an Envoy counts only while none of its secrets stands refused, since
Envoy acknowledges what it cannot use yet (ADR 6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from meshca.agent.attendance import Attendance
from meshca.config.resource_names import SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Overdue, Refused, Subscribed
from meshca.wire.xds_streams import Notice

LONGEST_ERROR = 300  # characters of an Envoy's words that go to the CA


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """Every Envoy that asked has it, but for those that do not answer.

    Attributes:
        grade: on whose word: `envoy`, or `agent` when no connected Envoy asked for it.
        pending_pids: Envoys that did not answer in time, in order.
        leaf: serial of our certificate that is in force with it; empty when that is not said.
    """

    grade: Literal["envoy", "agent"]
    pending_pids: tuple[int, ...] = ()
    leaf: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An Envoy refused this very content, and its refusal can be believed to be about that."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp:
    """Nobody has refused it for itself, but Envoys that asked for it stand with a refused secret.

    It is neither in force nor at fault: it stays offered, and is judged again when they heal or leave.

    Attributes:
        pids: those Envoys, and those that did not answer in time, in order.
        error: their words.
    """

    pids: tuple[int, ...]
    error: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """An answer is still awaited."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Those that are here agree, but one that was here before us or left just now may refuse it when it comes."""


Verdict = InForce | HeldUp | Rejected | Undecided | Missing


@dataclass(slots=True)
class _Name:
    """One name of one subscription, by content versions; empty means none."""

    adopted: str = ""
    late: str = ""
    refused: str = ""
    error: str = ""
    stands: bool = False  # the last answer was a refusal


@dataclass(slots=True)
class _Subscription:
    peer: str
    pid: int
    type_url: str
    names: dict[str, _Name] = field(default_factory=dict)


class Envoys:
    """Every subscription of every connected Envoy.

    Args:
        attendance: says who is waited for; nobody without it.
    """

    def __init__(self, attendance: Attendance | None = None) -> None:
        self._attendance = attendance
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}

    def __len__(self) -> int:
        """How many Envoys (connections with a subscription) there are."""
        return len({subscription.peer for subscription in self._subscriptions.values()})

    def observe(self, notice: Notice, pid: int) -> None:
        """Take what happened on a stream of the process with this id."""
        self._observe(notice, pid)
        if self._attendance is not None:
            self._attendance.count(sum(len(one.names) for one in self._subscriptions.values()))

    def _observe(self, notice: Notice, pid: int) -> None:
        key = (notice.stream, notice.type_url)
        event = notice.event
        if isinstance(event, Closed):
            self._subscriptions.pop(key, None)
            return
        if isinstance(event, Subscribed):
            known = self._subscriptions.setdefault(key, _Subscription(notice.peer, pid, notice.type_url))
            known.names = {name: known.names.get(name) or _Name() for name in event.names}
        subscription = self._subscriptions.get(key)
        if subscription is not None:
            _note(subscription.names, event)

    def verdict(self, type_url: str, names: Collection[str], version: str) -> Verdict:
        """Whether the resource that is offered under these names with this content version is in force.

        A secret is never `Rejected`: the agent has checked it, and Envoy refuses good secrets with the error of
        another one (ADR 6). One Envoy's trouble with its secrets must take nothing back from the others.
        """
        asked = [name for envoy in self._by_envoy() if (name := _Envoy(envoy, type_url, names)).asked]
        refusals = [refusal for envoy in asked if (refusal := envoy.refusal(version))]
        if refusals and type_url != SECRET_TYPE_URL:
            return Rejected(error="; ".join(refusals)[:LONGEST_ERROR])
        if any(envoy.awaited(version) for envoy in asked):
            return Undecided()
        late = {envoy.pid for envoy in asked if envoy.late(version)}
        ill = {envoy.pid: words for envoy in asked if (words := envoy.refusal(version) or envoy.illness())}
        if ill:
            pids = tuple(sorted(late | ill.keys()))
            return HeldUp(pids=pids, error="; ".join(ill.values())[:LONGEST_ERROR])
        if self._attendance is not None and self._attendance.missing:
            return Missing()
        return InForce(grade="envoy" if asked else "agent", pending_pids=tuple(sorted(late)))

    def _by_envoy(self) -> Iterable[list[_Subscription]]:
        by_peer: dict[str, list[_Subscription]] = {}
        for subscription in self._subscriptions.values():
            by_peer.setdefault(subscription.peer, []).append(subscription)
        return by_peer.values()


class _Envoy:
    """One Envoy's view of one resource."""

    def __init__(self, subscriptions: list[_Subscription], type_url: str, names: Collection[str]) -> None:
        self.pid = subscriptions[0].pid
        self.asked = [
            (name, state)
            for subscription in subscriptions
            if subscription.type_url == type_url
            for name, state in subscription.names.items()
            if name in names
        ]
        self._secrets = [
            (name, state)
            for subscription in subscriptions
            if subscription.type_url == SECRET_TYPE_URL
            for name, state in subscription.names.items()
        ]

    def refusal(self, version: str) -> str:
        """Its words when it refused this content; else empty."""
        return self._words((name, state) for name, state in self.asked if state.refused == version)

    def illness(self) -> str:
        """Its words when any of its secrets stands refused; else empty."""
        return self._words((name, state) for name, state in self._secrets if state.stands)

    def late(self, version: str) -> bool:
        """Whether it did not answer in time."""
        return any(state.late == version != state.adopted for _, state in self.asked)

    def awaited(self, version: str) -> bool:
        """Whether its answer may still come in time."""
        return any(version not in {state.adopted, state.late, state.refused} for _, state in self.asked)

    def _words(self, refused: Iterable[tuple[str, _Name]]) -> str:
        return next((f"pid {self.pid} refuses {name}: {state.error}" for name, state in refused), "")


def _note(names: dict[str, _Name], event: object) -> None:
    if isinstance(event, Adopted):
        for name, version in event.versions.items():
            if (state := names.get(name)) is not None:
                refused = "" if state.refused == version else state.refused
                names[name] = _Name(adopted=version, refused=refused, error=state.error)
    if isinstance(event, Overdue):
        for name, version in event.versions.items():
            if (state := names.get(name)) is not None:
                state.late = version
    if isinstance(event, Refused) and len(event.versions) == 1:
        # A refusal of several names does not say which; each is pushed again by itself and answered for.
        for name, version in event.versions.items():
            if (state := names.get(name)) is not None:
                state.refused, state.error, state.stands, state.late = version, event.error, True, ""
