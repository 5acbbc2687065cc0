"""Questions about the ledger and their answers, as messages and as our values, both ways.

Used by the servicer, and by the client on the other side of the socket.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from meshca._proto.meshca.admin.v1 import admin_pb2
from meshca.errors import BadRequest
from meshca.ledger.query import DEFAULT_LIMIT, Query
from meshca.ledger.record import Intent, Issuance, Outcome, Result
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
