"""What the administrator is told of a running server, as a message and as our values, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from google.protobuf.duration_pb2 import Duration

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca.rpc.kubernetes_messages import kubernetes_message, kubernetes_of
from meshca.rpc.status_report import (
    AgentReport,
    CertificateReport,
    ClusterReport,
    PolicyReport,
    ResourceReport,
    StatusReport,
    TokenReviewReport,
    UpstreamReport,
    WorkerReport,
)
from meshca.rpc.timestamps import instant, timestamp

# Bytes of all agents in a status: a hundred thousand of the usual kind. One that says much of itself takes ten
# times as many.
MAX_AGENT_BYTES: Final = 32 * 1024 * 1024
MAX_ANSWER_BYTES: Final = 2 * MAX_AGENT_BYTES  # that a client must take


def status_message(report: StatusReport) -> admin_pb2.Status:
    """A report as a message, without the agents that would make it too large."""
    policies = report.policies
    agents = _fitting(report.agents)
    return admin_pb2.Status(
        version=report.version,
        trust_domain=report.trust_domain,
        started_at=timestamp(report.started_at),
        certificates=[_certificate_message(one) for one in report.certificates],
        roots_version=report.roots_version,
        workers=[
            admin_pb2.WorkerStatus(
                name=one.name, pid=one.pid, ready=one.ready, detail=one.detail, restarts=one.restarts
            )
            for one in report.workers
        ],
        policies=admin_pb2.PolicyStatus(version=policies.version, count=policies.count, error=policies.error),
        agents=agents,
        agents_left_out=report.agents_left_out + len(report.agents) - len(agents),
        admission_error=report.admission_error,
        config_error=report.config_error,
        authority_error=report.authority_error,
        store_error=report.store_error,
        ending_warning=report.ending_warning,
        kubernetes=kubernetes_message(report.kubernetes) if report.kubernetes else None,
        token_review=_review_message(report.token_review) if report.token_review else None,
        clusters=[admin_pb2.ClusterStatus(**asdict(one)) for one in report.clusters],
        upstream=_upstream_message(report.upstream),
    )


def _upstream_message(report: UpstreamReport) -> admin_pb2.UpstreamStatus:
    autonomy = Duration()
    autonomy.FromTimedelta(report.autonomy)
    return admin_pb2.UpstreamStatus(
        kind=report.kind,
        autonomy=autonomy,
        reached_at=None if report.reached_at is None else timestamp(report.reached_at),
        fault=report.fault,
        remedy=report.remedy,
        leaf_error=report.leaf_error,
    )


def _review_message(report: TokenReviewReport) -> admin_pb2.TokenReviewStatus:
    cache = Duration()
    cache.FromTimedelta(report.cache)
    return admin_pb2.TokenReviewStatus(cluster=report.cluster, mode=report.mode, cache=cache)


def _fitting(reports: Sequence[AgentReport]) -> list[admin_pb2.AgentStatus]:
    """In the order given, those that fit: connected ones rather than others, then those heard last."""
    messages = [_agent_message(one) for one in reports]
    wanted = sorted(
        range(len(reports)), key=lambda at: (reports[at].connected, reports[at].last_seen), reverse=True
    )
    taken, room = set(), MAX_AGENT_BYTES
    for at in wanted:
        room -= messages[at].ByteSize()
        if room < 0:
            break
        taken.add(at)
    return [message for at, message in enumerate(messages) if at in taken]


def _certificate_message(report: CertificateReport) -> admin_pb2.CertificateStatus:
    return admin_pb2.CertificateStatus(
        kind=report.kind,
        subject=report.subject,
        serial=report.serial,
        sha256=report.sha256,
        not_before=timestamp(report.not_before),
        not_after=timestamp(report.not_after),
    )


def _agent_message(report: AgentReport) -> admin_pb2.AgentStatus:
    return admin_pb2.AgentStatus(
        spiffe_id=report.spiffe_id,
        node=report.node,
        pod=report.pod,
        last_seen=timestamp(report.last_seen),
        connected=report.connected,
        resources=[
            admin_pb2.AdoptedResource(
                kind=one.kind,
                sent_version=one.sent_version,
                adopted_version=one.adopted_version,
                grade=one.grade,
                pending_pids=one.pending_pids,
                error=one.error,
            )
            for one in report.resources
        ],
    )


def status_of(message: admin_pb2.Status) -> StatusReport:
    """A message as the report that it was made of."""
    policies = message.policies
    return StatusReport(
        version=message.version,
        trust_domain=message.trust_domain,
        started_at=instant(message.started_at),
        certificates=tuple(_certificate_of(one) for one in message.certificates),
        roots_version=message.roots_version,
        workers=tuple(
            WorkerReport(name=one.name, pid=one.pid, ready=one.ready, detail=one.detail, restarts=one.restarts)
            for one in message.workers
        ),
        policies=PolicyReport(version=policies.version, count=policies.count, error=policies.error),
        agents=tuple(_agent_of(one) for one in message.agents),
        admission_error=message.admission_error,
        config_error=message.config_error,
        authority_error=message.authority_error,
        store_error=message.store_error,
        ending_warning=message.ending_warning,
        kubernetes=kubernetes_of(message.kubernetes) if message.HasField("kubernetes") else None,
        token_review=_review_of(message.token_review) if message.HasField("token_review") else None,
        clusters=tuple(
            ClusterReport(name=one.name, secret=one.secret, state=one.state, problem=one.problem)
            for one in message.clusters
        ),
        agents_left_out=message.agents_left_out,
        upstream=_upstream_of(message.upstream),
    )


def _upstream_of(message: admin_pb2.UpstreamStatus) -> UpstreamReport:
    return UpstreamReport(
        kind=message.kind,
        autonomy=message.autonomy.ToTimedelta(),
        reached_at=instant(message.reached_at) if message.HasField("reached_at") else None,
        fault=message.fault,
        remedy=message.remedy,
        leaf_error=message.leaf_error,
    )


def _review_of(message: admin_pb2.TokenReviewStatus) -> TokenReviewReport:
    return TokenReviewReport(cluster=message.cluster, mode=message.mode, cache=message.cache.ToTimedelta())


def _certificate_of(message: admin_pb2.CertificateStatus) -> CertificateReport:
    return CertificateReport(
        kind=message.kind,
        subject=message.subject,
        serial=message.serial,
        sha256=message.sha256,
        not_before=instant(message.not_before),
        not_after=instant(message.not_after),
    )


def _agent_of(message: admin_pb2.AgentStatus) -> AgentReport:
    return AgentReport(
        spiffe_id=message.spiffe_id,
        node=message.node,
        pod=message.pod,
        last_seen=instant(message.last_seen),
        connected=message.connected,
        resources=tuple(
            ResourceReport(
                kind=one.kind,
                sent_version=one.sent_version,
                adopted_version=one.adopted_version,
                grade=one.grade,
                pending_pids=tuple(one.pending_pids),
                error=one.error,
            )
            for one in message.resources
        ),
    )
