"""The administrator's messages and our values, both ways; the only place that knows the fields of meshca.v1.

Used by the servicer, and by the client on the other side of the socket.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from meshca._proto.meshca.v1 import admin_pb2
from meshca.errors import BadRequest
from meshca.ledger.query import DEFAULT_LIMIT, Query
from meshca.ledger.record import Intent, Issuance, Outcome, Result
from meshca.rpc.kubernetes_messages import kubernetes_message, kubernetes_of
from meshca.rpc.status_report import (
    AgentReport,
    CertificateReport,
    ClusterReport,
    PolicyReport,
    ResourceReport,
    StatusReport,
    TokenReviewReport,
    WorkerReport,
)
from meshca.rpc.timestamps import instant, timestamp


def query_message(query: Query) -> admin_pb2.ListIssuancesRequest:
    """A query as a request."""
    return admin_pb2.ListIssuancesRequest(
        spiffe_id=query.spiffe_id or "",
        namespace=query.namespace or "",
        pod=query.pod or "",
        node=query.node or "",
        issuer=query.issuer or "",
        result=query.result or "",
        since=timestamp(query.since),
        until=timestamp(query.until),
        limit=query.limit,
    )


def query_of(request: admin_pb2.ListIssuancesRequest) -> Query:
    """A request as a query.

    Raises:
        BadRequest: reasons `result`, `limit` and `time_range`.
    """
    return Query(
        spiffe_id=request.spiffe_id or None,
        namespace=request.namespace or None,
        pod=request.pod or None,
        node=request.node or None,
        issuer=request.issuer or None,
        result=_result(request.result),
        since=_bound(request.since) if request.HasField("since") else None,
        until=_bound(request.until) if request.HasField("until") else None,
        limit=request.limit or DEFAULT_LIMIT,
    )


def _result(text: str) -> Result | None:
    try:
        return Result(text) if text else None
    except ValueError:
        raise BadRequest("result", f"result must be one of {', '.join(Result)}") from None


def _bound(message: Timestamp) -> datetime:
    try:
        return instant(message)
    except (ValueError, OverflowError):
        raise BadRequest("time_range", "since and until must be in the years 1 to 9999") from None


def issuance_message(issuance: Issuance) -> admin_pb2.Issuance:
    """A ledger record as a message."""
    intent, outcome = issuance.intent, issuance.outcome
    return admin_pb2.Issuance(
        serial=intent.serial,
        request_id=intent.request_id,
        spiffe_id=intent.spiffe_id,
        proven_by=intent.proven_by,
        issuer=intent.issuer,
        namespace=intent.namespace,
        service_account=intent.service_account,
        pod_name=intent.pod_name,
        pod_uid=intent.pod_uid,
        node_name=intent.node_name,
        node_uid=intent.node_uid,
        token_id=intent.token_id,
        proven_at=timestamp(intent.proven_at),
        parent_serial=intent.parent_serial,
        labels=dict(intent.labels),
        requested_by=intent.requested_by,
        key_type=intent.key_type,
        key_sha256=intent.key_sha256,
        csr_sha256=intent.csr_sha256,
        signer=intent.signer,
        rule=intent.rule,
        intended_at=timestamp(intent.intended_at),
        not_before=timestamp(intent.not_before),
        not_after=timestamp(intent.not_after),
        result=issuance.result,
        reason=outcome.reason if outcome else "",
        finished_at=timestamp(outcome.finished_at if outcome else None),
    )


def issuance_of(message: admin_pb2.Issuance) -> Issuance:
    """A message as the ledger record that it was made of."""
    intent = Intent(
        serial=message.serial,
        request_id=message.request_id,
        spiffe_id=message.spiffe_id,
        proven_by=message.proven_by,
        issuer=message.issuer,
        namespace=message.namespace,
        service_account=message.service_account,
        pod_name=message.pod_name,
        pod_uid=message.pod_uid,
        node_name=message.node_name,
        node_uid=message.node_uid,
        token_id=message.token_id,
        proven_at=instant(message.proven_at),
        parent_serial=message.parent_serial,
        labels=dict(message.labels),
        requested_by=message.requested_by,
        key_type=message.key_type,
        key_sha256=message.key_sha256,
        csr_sha256=message.csr_sha256,
        signer=message.signer,
        rule=message.rule,
        intended_at=instant(message.intended_at),
        not_before=instant(message.not_before),
        not_after=instant(message.not_after),
    )
    return Issuance(intent=intent, outcome=_outcome_of(message))


def _outcome_of(message: admin_pb2.Issuance) -> Outcome | None:
    result = Result(message.result)
    if result is Result.UNKNOWN:
        return None
    finished_at = instant(message.finished_at)
    return Outcome(serial=message.serial, result=result, reason=message.reason, finished_at=finished_at)


def status_message(report: StatusReport) -> admin_pb2.Status:
    """A report as a message."""
    policies = report.policies
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
        agents=[_agent_message(one) for one in report.agents],
        admission_error=report.admission_error,
        config_error=report.config_error,
        authority_error=report.authority_error,
        store_error=report.store_error,
        ending_warning=report.ending_warning,
        kubernetes=kubernetes_message(report.kubernetes) if report.kubernetes else None,
        token_review=_review_message(report.token_review) if report.token_review else None,
        clusters=[admin_pb2.ClusterStatus(**asdict(one)) for one in report.clusters],
    )


def _review_message(report: TokenReviewReport) -> admin_pb2.TokenReviewStatus:
    cache = Duration()
    cache.FromTimedelta(report.cache)
    return admin_pb2.TokenReviewStatus(cluster=report.cluster, mode=report.mode, cache=cache)


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
