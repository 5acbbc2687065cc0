"""Roots, their changes and bundles, and what waits for a second person, as messages and our values, both ways."""

from __future__ import annotations

from dataclasses import dataclass

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.history import Bundle, Change, Kind, Plan, Record, Request
from meshca.authority.left_behind import told_to
from meshca.authority.lifecycle import Act, State
from meshca.rpc.roles import Sight
from meshca.rpc.timestamps import duration, instant, span, timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A bundle that was given out, in both of its forms.

    Attributes:
        bundle: when, and which roots.
        pem: the roots.
        spiffe_json: in SPIFFE's format.
    """

    bundle: Bundle
    pem: str
    spiffe_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a wish.

    Attributes:
        root: that was made or is rotated to; None for acts without one.
        waiting: what was not done but waits for a second person; None when it was done.
        warning: who breaks by it beside those whom the approver was shown; empty for nobody.
    """

    root: Record | None = None
    waiting: Request | None = None
    warning: str = ""


def authority_message(record: Record) -> roots_pb2.Authority:
    """A root or an intermediate as a message."""
    return roots_pb2.Authority(
        id=record.id,
        kind=record.kind,
        state=record.state,
        pem=record.pem,
        parent=record.parent,
        since=timestamp(record.since),
        trusted_since=timestamp(record.trusted_since),
        replica=record.replica,
    )


def authority_of(message: roots_pb2.Authority) -> Record:
    """A message as the record that it was made of."""
    return Record(
        id=message.id,
        kind=Kind(message.kind),
        state=State(message.state),
        pem=message.pem,
        parent=message.parent,
        since=instant(message.since),
        trusted_since=instant(message.trusted_since) if message.HasField("trusted_since") else None,
        replica=message.replica,
    )


def change_message(change: Change, sight: Sight) -> roots_pb2.Change:
    """A transition as a message, as far as somebody sees who was left behind by it."""
    all_seen = sight.namespaces is None
    return roots_pb2.Change(
        generation=change.generation,
        authority=change.authority,
        kind=change.kind,
        act=change.act or "",
        before=change.before or "",
        after=change.after,
        guard=change.guard if all_seen else told_to(change.guard, sight.shows_identity),
        forced=change.forced,
        by=change.by,
        reason=change.reason,
        at=timestamp(change.at),
    )


def change_of(message: roots_pb2.Change) -> Change:
    """A message as the transition that it was made of."""
    return Change(
        generation=message.generation,
        authority=message.authority,
        kind=Kind(message.kind),
        act=Act(message.act) if message.act else None,
        before=State(message.before) if message.before else None,
        after=State(message.after),
        guard=message.guard,
        forced=message.forced,
        by=message.by,
        reason=message.reason,
        at=instant(message.at),
    )


def plan_message(plan: Plan) -> roots_pb2.Plan:
    """A rotation that is under way as a message."""
    return roots_pb2.Plan(
        old=plan.old,
        new=plan.new,
        automatic=plan.automatic,
        paused=plan.paused,
        compromised=plan.compromised,
        window=duration(plan.window),
        tainted_at=timestamp(plan.tainted_at),
        started_at=timestamp(plan.started_at),
        by=plan.by,
        reason=plan.reason,
        urgent_by=plan.urgent_by,
    )


def plan_of(message: roots_pb2.Plan) -> Plan:
    """A message as the plan that it was made of."""
    return Plan(
        old=message.old,
        new=message.new,
        automatic=message.automatic,
        paused=message.paused,
        compromised=message.compromised,
        window=span(message.window),
        tainted_at=instant(message.tainted_at) if message.HasField("tainted_at") else None,
        started_at=instant(message.started_at),
        by=message.by,
        reason=message.reason,
        urgent_by=message.urgent_by,
    )


def request_message(request: Request) -> roots_pb2.Request:
    """What waits for a second person as a message; the message that it would send is not shown."""
    return roots_pb2.Request(
        id=request.id,
        act=request.act,
        says=request.says,
        by=request.by,
        reason=request.reason,
        at=timestamp(request.at),
        until=timestamp(request.until),
        breaks=request.breaks,
        urgent=request.urgent,
        root=request.root,
    )


def request_of(message: roots_pb2.Request) -> Request:
    """A message as the request that it was made of, without its body."""
    return Request(
        id=message.id,
        act=message.act,
        body=b"",
        says=message.says,
        by=message.by,
        reason=message.reason,
        at=instant(message.at),
        until=instant(message.until),
        breaks=message.breaks,
        urgent=message.urgent,
        root=message.root,
    )


def answer_message(answer: Answer) -> roots_pb2.Act:
    """What became of a wish as a message."""
    return roots_pb2.Act(
        root=authority_message(answer.root) if answer.root else None,
        waiting=request_message(answer.waiting) if answer.waiting else None,
        warning=answer.warning,
    )


def answer_of(message: roots_pb2.Act) -> Answer:
    """A message as the answer that it was made of."""
    return Answer(
        root=authority_of(message.root) if message.HasField("root") else None,
        waiting=request_of(message.waiting) if message.HasField("waiting") else None,
        warning=message.warning,
    )


def bundle_message(bundle: Bundle) -> roots_pb2.Bundle:
    """Which roots were given out as a message."""
    return roots_pb2.Bundle(
        sequence=bundle.sequence, version=bundle.version, at=timestamp(bundle.at), roots=bundle.roots
    )


def bundle_of(message: roots_pb2.Bundle) -> Bundle:
    """A message as the bundle that it was made of."""
    return Bundle(
        sequence=message.sequence, version=message.version, at=instant(message.at), roots=tuple(message.roots)
    )


def exported_message(exported: Exported) -> roots_pb2.ExportBundleResponse:
    """A bundle as a message."""
    bundle = exported.bundle
    return roots_pb2.ExportBundleResponse(
        sequence=bundle.sequence,
        version=bundle.version,
        at=timestamp(bundle.at),
        roots=bundle.roots,
        pem=exported.pem,
        spiffe_json=exported.spiffe_json,
    )


def exported_of(message: roots_pb2.ExportBundleResponse) -> Exported:
    """A message as the bundle that it was made of."""
    bundle = Bundle(
        sequence=message.sequence,
        version=message.version,
        at=instant(message.at),
        roots=tuple(message.roots),
    )
    return Exported(bundle=bundle, pem=message.pem, spiffe_json=message.spiffe_json)
