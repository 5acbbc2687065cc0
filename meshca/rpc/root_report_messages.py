"""How the roots stand and what a rotation would do, as messages and as our values, both ways.

On the way out workloads are named only to who may see their namespaces; the others are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshca._proto.meshca.admin.v1 import roots_pb2
from meshca.authority.fleet import Word, Workload
from meshca.authority.gate import Gate, Straggler
from meshca.rotation.report import AuthorityReport, FleetReport, Forecast, ForecastStep, RootReport
from meshca.rpc.roles import Sight
from meshca.rpc.root_messages import authority_message, authority_of, plan_message, plan_of
from meshca.rpc.timestamps import instant, timestamp


def report_message(report: RootReport, sight: Sight) -> roots_pb2.RootStatus:
    """A report as a message, as far as somebody sees."""
    return roots_pb2.RootStatus(
        generation=report.generation,
        sequence=report.sequence,
        bundle_version=report.bundle_version,
        authorities=[_status_message(one) for one in report.authorities],
        fleet=_fleet_message(report.fleet) if report.fleet else None,
        plan=plan_message(report.plan) if report.plan else None,
        next_step=report.next_step,
        gate=_gate_message(report.gate, sight) if report.gate else None,
        warnings=report.warnings,
        driven_by=report.driven_by,
    )


def report_of(message: roots_pb2.RootStatus) -> RootReport:
    """A message as the report that it was made of."""
    return RootReport(
        generation=message.generation,
        sequence=message.sequence,
        bundle_version=message.bundle_version,
        authorities=tuple(_status_of(one) for one in message.authorities),
        fleet=_fleet_of(message.fleet) if message.HasField("fleet") else None,
        plan=plan_of(message.plan) if message.HasField("plan") else None,
        next_step=message.next_step,
        gate=_gate_of(message.gate) if message.HasField("gate") else None,
        warnings=tuple(message.warnings),
        driven_by=message.driven_by,
    )


def forecast_message(forecast: Forecast, sight: Sight) -> roots_pb2.Forecast:
    """A forecast as a message, as far as somebody sees."""
    losers, hidden = _seen(forecast.losers, sight)
    return roots_pb2.Forecast(
        steps=[_step_message(one, sight) for one in forecast.steps],
        losers=losers,
        unnamed=forecast.unnamed + hidden,
        plan=plan_message(forecast.plan) if forecast.plan else None,
    )


def forecast_of(message: roots_pb2.Forecast) -> Forecast:
    """A message as the forecast that it was made of."""
    return Forecast(
        steps=tuple(_step_of(one) for one in message.steps),
        losers=tuple(_straggler_of(one) for one in message.losers),
        unnamed=message.unnamed,
        plan=plan_of(message.plan) if message.HasField("plan") else None,
    )


def _step_message(step: ForecastStep, sight: Sight) -> roots_pb2.ForecastStep:
    holders, hidden = _seen(step.holders, sight)
    return roots_pb2.ForecastStep(says=step.says, holders=holders, unnamed=step.unnamed + hidden)


def _step_of(message: roots_pb2.ForecastStep) -> ForecastStep:
    holders = tuple(_straggler_of(one) for one in message.holders)
    return ForecastStep(says=message.says, holders=holders, unnamed=message.unnamed)


def _status_message(report: AuthorityReport) -> roots_pb2.AuthorityStatus:
    return roots_pb2.AuthorityStatus(
        record=authority_message(report.record),
        subject=report.subject,
        not_before=timestamp(report.not_before),
        not_after=timestamp(report.not_after),
        trusted_by=report.trusted_by,
        leaves=report.leaves,
        last_leaf_ends=timestamp(report.last_leaf_ends),
    )


def _status_of(message: roots_pb2.AuthorityStatus) -> AuthorityReport:
    return AuthorityReport(
        record=authority_of(message.record),
        subject=message.subject,
        not_before=instant(message.not_before),
        not_after=instant(message.not_after),
        trusted_by=message.trusted_by,
        leaves=message.leaves,
        last_leaf_ends=instant(message.last_leaf_ends) if message.HasField("last_leaf_ends") else None,
    )


def _fleet_message(report: FleetReport) -> roots_pb2.FleetStatus:
    return roots_pb2.FleetStatus(
        seen=report.seen,
        acknowledged=report.acknowledged,
        delivered=report.delivered,
        none=report.none,
        seen_since=timestamp(report.seen_since),
        oldest_seen=timestamp(report.oldest_seen),
    )


def _fleet_of(message: roots_pb2.FleetStatus) -> FleetReport:
    return FleetReport(
        seen=message.seen,
        acknowledged=message.acknowledged,
        delivered=message.delivered,
        none=message.none,
        seen_since=instant(message.seen_since),
        oldest_seen=instant(message.oldest_seen) if message.HasField("oldest_seen") else None,
    )


def _gate_message(gate: Gate, sight: Sight) -> roots_pb2.Gate:
    stragglers, hidden = _seen(gate.stragglers, sight)
    return roots_pb2.Gate(
        open=gate.open,
        ready=gate.ready,
        of=gate.of,
        why=gate.why,
        stragglers=stragglers,
        unnamed=gate.unnamed + hidden,
        opens_at=timestamp(gate.opens_at),
    )


def _gate_of(message: roots_pb2.Gate) -> Gate:
    return Gate(
        open=message.open,
        ready=message.ready,
        of=message.of,
        why=message.why,
        stragglers=tuple(_straggler_of(one) for one in message.stragglers),
        unnamed=message.unnamed,
        opens_at=instant(message.opens_at) if message.HasField("opens_at") else None,
    )


def _seen(stragglers: Sequence[Straggler], sight: Sight) -> tuple[list[roots_pb2.Straggler], int]:
    """Those that may be named, and how many may not."""
    shown = [one for one in stragglers if sight.shows_identity(one.workload.identity)]
    return [_straggler_message(one) for one in shown], len(stragglers) - len(shown)


def _straggler_message(straggler: Straggler) -> roots_pb2.Straggler:
    one = straggler.workload
    workload = roots_pb2.Workload(
        identity=one.identity,
        pod=one.pod,
        node=one.node,
        word=one.word,
        trusts=sorted(one.trusts),
        given_at=timestamp(one.given_at),
        signers=sorted(one.signers),
        leaf_ends=timestamp(one.leaf_ends),
        seen_at=timestamp(one.seen_at),
        connected=one.connected,
        trouble=one.trouble,
    )
    return roots_pb2.Straggler(workload=workload, why=straggler.why)


def _straggler_of(message: roots_pb2.Straggler) -> Straggler:
    one = message.workload
    workload = Workload(
        identity=one.identity,
        pod=one.pod,
        node=one.node,
        word=Word(one.word),
        trusts=frozenset(one.trusts),
        given_at=instant(one.given_at) if one.HasField("given_at") else None,
        signers=frozenset(one.signers),
        leaf_ends=instant(one.leaf_ends) if one.HasField("leaf_ends") else None,
        seen_at=instant(one.seen_at),
        connected=one.connected,
        trouble=one.trouble,
    )
    return Straggler(workload=workload, why=message.why)
