"""Writes down what subscribers do with what they are sent: adoption records, counters, log lines.

An acknowledgement alone is not adoption: while any resource of a connection stands refused, nothing that the
connection acknowledges is graded as in force. It must never influence what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshca import metrics
from meshca.authority.adoption import Adoption, AdoptionStore, Grade, Kind
from meshca.clock import Clock
from meshca.config.resource_names import AUTHZ, EXTENSION_TYPE_URL, ORDER, ROOTCA, SECRET_TYPE_URL
from meshca.discovery.event import Adopted, Closed, Event, Overdue, Pending, Refused, Sent, Stale, Subscribed
from meshca.identity.caller import Caller
from meshca.identity.spiffe_id import TrustDomain
from meshca.log import log
from meshca.wire.xds_streams import Notice, Observer

NO_ANSWER: Final = "no answer in time"
ILL: Final = "acknowledged, but another resource of this client stands refused"
_GRADES: Final = {"envoy": Grade.ENVOY, "agent": Grade.AGENT}
_ANSWERS: Final = {Adopted: "ack", Refused: "nack", Overdue: "overdue"}
_KINDS: Final = {SECRET_TYPE_URL: Kind.ROOTS, EXTENSION_TYPE_URL: Kind.POLICIES}  # what agents report on
_CERTIFICATE: Final = "certificate"  # metric label of a secret that is no Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What an observer must know of the door that a stream came through.

    Attributes:
        kind: metric label: `agent` or `sds`.
        unreported: who vouches for an acknowledgement whose node says nothing about that.
    """

    kind: str
    unreported: Grade


AGENTS: Final = Door(kind="agent", unreported=Grade.AGENT)
ENVOYS: Final = Door(kind="sds", unreported=Grade.ENVOY)


class Adoptions:
    """The observer of all streams of a worker.

    Args:
        store: keeps the records.
        trust_domain: its ID is another name of the roots.
        clock: when something was last heard.
        worker: this worker's instance.
    """

    def __init__(self, store: AdoptionStore, trust_domain: TrustDomain, clock: Clock, worker: str) -> None:
        self._store = store
        self._kinds = {ROOTCA: Kind.ROOTS, trust_domain.id: Kind.ROOTS, AUTHZ: Kind.POLICIES}
        self._trust_domain = trust_domain
        self._clock = clock
        self._worker = worker
        self._latest: dict[tuple[str, Kind], Adoption] = {}  # by stream
        self._held_back: dict[tuple[str, Kind], Adoption] = {}  # acknowledged roots of ill clients
        self._open: dict[str, str] = {}  # stream to peer
        self._taken: dict[str, str] = {}  # by peer: serial of the certificate that an Envoy acknowledged last
        self._leaves: dict[str, str] = {}  # by peer: serial of the one that is in force there
        self._refused: dict[str, set[tuple[str, str]]] = {}  # by peer: stream and name of refused secrets

    def observer(self, caller: Caller, door: Door) -> Observer:
        """What a stream of this caller tells its news to."""
        return lambda notice: self._observe(caller, door, notice)

    def _observe(self, caller: Caller, door: Door, notice: Notice) -> None:
        event = notice.event
        if isinstance(event, Closed):
            self._closed(door, notice)
            return
        if notice.stream not in self._open:
            self._open[notice.stream] = notice.peer
            metrics.streams.labels(door.kind).inc()
        if isinstance(event, Pending):
            log.info("xds.pending", names=sorted(event.names), **_who(caller, notice))
        if isinstance(event, Stale) and notice.node.report.held_up:
            self._held_up(caller, notice)
        if isinstance(event, Adopted | Refused | Overdue):
            self._answered(caller, notice, event)
        for name, version in _versions(event).items():
            if kind := self._kinds.get(name):
                latest = self._latest.get((notice.stream, kind)) or self._first(caller, notice, kind)
                self._record(self._news(latest, door, notice, version))

    def _held_up(self, caller: Caller, notice: Notice) -> None:
        """Note why an agent neither acknowledges nor refuses what it was sent."""
        report = notice.node.report
        log.warning("xds.held_up", error=report.held_up, pids=report.pending_pids, **_who(caller, notice))
        kind = _KINDS.get(notice.type_url)
        if kind is not None and (latest := self._latest.get((notice.stream, kind))) is not None:
            self._record(replace(latest, error=report.held_up, pending_pids=report.pending_pids))

    def _answered(self, caller: Caller, notice: Notice, event: Adopted | Refused | Overdue) -> None:
        """Count, log what is not well, and remember which secrets stand refused."""
        answer = _ANSWERS[type(event)]
        for name in event.versions:
            metrics.answers.labels(self._label(name), answer).inc()
        if not isinstance(event, Adopted):
            error = event.error if isinstance(event, Refused) else NO_ANSWER
            log.warning(f"xds.{answer}", versions=dict(event.versions), error=error, **_who(caller, notice))
        if notice.type_url == SECRET_TYPE_URL and not isinstance(event, Overdue):
            self._note_health(notice, event)
            if isinstance(event, Adopted):
                self._note_leaf(notice, event)

    def _note_leaf(self, notice: Notice, event: Adopted) -> None:
        """Remember which certificate is in force: an agent says it, an Envoy that is well acknowledges its own."""
        peer = notice.peer
        for name in event.versions.keys() - self._kinds:
            self._taken[peer] = event.versions[name]
        leaf = notice.node.report.leaf or ("" if self._refused[peer] else self._taken.get(peer, ""))
        if leaf and self._leaves.get(peer) != leaf:
            self._leaves[peer] = leaf
            for stream, kind in self._latest:
                if self._open[stream] == peer:
                    self._record(self._latest[stream, kind])

    def _label(self, name: str) -> str:
        return ORDER if name == ORDER else self._kinds.get(name, _CERTIFICATE)

    def _note_health(self, notice: Notice, event: Adopted | Refused) -> None:
        refused = self._refused.setdefault(notice.peer, set())
        secrets = {(notice.stream, name) for name in event.versions}
        if isinstance(event, Refused):
            refused |= secrets
            return
        refused -= secrets
        if refused:
            return
        for key in [key for key in self._held_back if self._open[key[0]] == notice.peer]:
            self._record(self._held_back.pop(key))

    def _news(self, latest: Adoption, door: Door, notice: Notice, version: str) -> Adoption:
        event = notice.event
        match event:
            case Subscribed():
                return replace(latest, adopted_version=latest.adopted_version or version)
            case Sent():
                return replace(latest, sent_version=version)
            case Adopted():
                return self._adopted(latest, door, notice, version)
            case Refused():
                return replace(latest, grade=Grade.REFUSED, error=event.error, pending_pids=())
            case _:
                # An agent that said what it waits for has not been silent.
                return replace(latest, error=(latest.pending_pids and latest.error) or NO_ANSWER)

    def _adopted(self, latest: Adoption, door: Door, notice: Notice, version: str) -> Adoption:
        report = notice.node.report
        grade = _GRADES.get(report.grade, door.unreported)
        news = replace(latest, adopted_version=version, grade=grade, error="", pending_pids=report.pending_pids)
        key = (latest.stream, latest.kind)
        if latest.kind is Kind.ROOTS and self._refused[notice.peer]:
            self._held_back[key] = news
            return replace(latest, grade=Grade.REFUSED, error=ILL, pending_pids=())
        self._held_back.pop(key, None)
        return news

    def _first(self, caller: Caller, notice: Notice, kind: Kind) -> Adoption:
        return Adoption(
            agent=caller.identity(self._trust_domain),
            node_id=notice.node.id,
            pod=caller.pod.name if caller.pod else "",
            pod_uid=caller.pod.uid if caller.pod else "",
            instance=notice.node.instance,
            kind=kind,
            seen_at=self._clock.now(),
            worker=self._worker,
            stream=notice.stream,
        )

    def _record(self, adoption: Adoption) -> None:
        leaf = self._leaves.get(self._open[adoption.stream], "")
        heard = replace(adoption, leaf=leaf, seen_at=self._clock.now())
        self._latest[adoption.stream, adoption.kind] = heard
        self._store.record(heard)

    def _closed(self, door: Door, notice: Notice) -> None:
        if self._open.pop(notice.stream, None) is None:
            return  # another subscription of the stream has said so
        metrics.streams.labels(door.kind).dec()
        self._store.disconnected(self._worker, notice.stream)
        for kind in Kind:
            self._latest.pop((notice.stream, kind), None)
            self._held_back.pop((notice.stream, kind), None)
        if notice.peer not in self._open.values():
            self._refused.pop(notice.peer, None)
            self._leaves.pop(notice.peer, None)
            self._taken.pop(notice.peer, None)
        elif notice.peer in self._refused:
            gone = {entry for entry in self._refused[notice.peer] if entry[0] == notice.stream}
            self._refused[notice.peer] -= gone


def _versions(event: Event) -> Mapping[str, str]:
    """Versions by name; a first subscription says what is held."""
    if isinstance(event, Subscribed):
        return dict.fromkeys(event.names, event.held)
    return event.versions if isinstance(event, Sent | Adopted | Refused | Overdue) else {}


def _who(caller: Caller, notice: Notice) -> dict[str, str]:
    return {"caller": str(caller.account), "node": notice.node.id, "peer": notice.peer}
