"""Records as rows and back, in the column order of the schema.

Runs for every issuance, so it is plain code: no reflection, no dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

import orjson

from meshca.authority.adoption import Adoption, Grade, Kind
from meshca.identity.caller import NO_LABELS
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.record import Intent, Issuance, LiveLeaf, Outcome, Result

Row = tuple[Any, ...]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NO_LABELS: Final = "{}"
_INTENT_WIDTH: Final = 24


def micros(instant: datetime) -> int:
    """Whole microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(count: int) -> datetime:
    """The instant, in UTC, so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=count)


def intent_row(intent: Intent) -> Row:
    """The columns of `issuance_intent`."""
    return (
        intent.serial,
        intent.request_id,
        intent.spiffe_id,
        str(intent.proven_by),
        intent.issuer,
        intent.namespace,
        intent.service_account,
        intent.pod_name,
        intent.pod_uid,
        intent.node_name,
        intent.node_uid,
        intent.token_id,
        micros(intent.proven_at),
        intent.parent_serial,
        orjson.dumps(dict(intent.labels), option=orjson.OPT_SORT_KEYS).decode() if intent.labels else _NO_LABELS,
        str(intent.key_type),
        intent.key_sha256,
        intent.csr_sha256,
        intent.signer,
        intent.rule,
        micros(intent.intended_at),
        micros(intent.not_before),
        micros(intent.not_after),
        intent.requested_by,
    )


def outcome_row(outcome: Outcome) -> Row:
    """What `statements.FINISH` takes."""
    return (outcome.result.value, outcome.reason, micros(outcome.finished_at), outcome.serial)


def issuance_of(row: Row) -> Issuance:
    """The record in the columns of an intent followed by result, reason and finish of its outcome, or NULLs."""
    result, reason, finished_at = row[_INTENT_WIDTH:]
    intent = _intent_of(row)
    if result is None:
        return Issuance(intent=intent)
    outcome = Outcome(serial=intent.serial, result=Result(result), reason=reason, finished_at=instant(finished_at))
    return Issuance(intent=intent, outcome=outcome)


BY_ISSUE: Final = itemgetter(8, 0)  # the order of live leaves: time of the intent, then serial


def live_leaf_of(row: Row) -> LiveLeaf:
    """The record in the columns that `sql.LIVE` gives."""
    return LiveLeaf(
        serial=row[0],
        spiffe_id=row[1],
        pod_name=row[2],
        pod_uid=row[3],
        node_name=row[4],
        requested_by=row[5],
        parent_serial=row[6],
        signer=row[7],
        issued_at=instant(row[8]),
        not_after=instant(row[9]),
    )


def _intent_of(row: Row) -> Intent:
    return Intent(
        serial=row[0],
        request_id=row[1],
        spiffe_id=row[2],
        proven_by=row[3],
        issuer=row[4],
        namespace=row[5],
        service_account=row[6],
        pod_name=row[7],
        pod_uid=row[8],
        node_name=row[9],
        node_uid=row[10],
        token_id=row[11],
        proven_at=instant(row[12]),
        parent_serial=row[13],
        labels=_labels(row[14]),
        key_type=row[15],
        key_sha256=row[16],
        csr_sha256=row[17],
        signer=row[18],
        rule=row[19],
        intended_at=instant(row[20]),
        not_before=instant(row[21]),
        not_after=instant(row[22]),
        requested_by=row[23],
    )


def _labels(text: str) -> Mapping[str, str]:
    return NO_LABELS if text == _NO_LABELS else MappingProxyType(orjson.loads(text))


def adoption_row(adoption: Adoption) -> Row:
    """The columns of `adoption`."""
    return (
        str(adoption.agent),
        adoption.node_id,
        adoption.kind.value,
        adoption.pod,
        adoption.sent_version,
        adoption.adopted_version,
        adoption.grade.value,
        orjson.dumps(adoption.pending_pids).decode(),
        adoption.error,
        micros(adoption.seen_at),
        int(adoption.connected),
        adoption.worker,
        adoption.stream,
        adoption.leaf,
        adoption.pod_uid,
        adoption.instance,
    )


def adoption_of(row: Row) -> Adoption:
    """The record in the columns of `adoption`."""
    return Adoption(
        agent=SpiffeId.parse(row[0]),
        node_id=row[1],
        kind=Kind(row[2]),
        pod=row[3],
        sent_version=row[4],
        adopted_version=row[5],
        grade=Grade(row[6]),
        pending_pids=tuple(orjson.loads(row[7])),
        error=row[8],
        seen_at=instant(row[9]),
        connected=bool(row[10]),
        worker=row[11],
        stream=row[12],
        leaf=row[13],
        pod_uid=row[14],
        instance=row[15],
    )
