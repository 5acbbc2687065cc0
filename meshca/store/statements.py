"""Every statement of the store, written in SQLAlchemy Core and compiled once to text.

Compiling takes a hundred times as long as running one; per issuance only the text is used.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine.default import DefaultDialect

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.query import Query
from meshca.ledger.record import Result
from meshca.store.rows import Row, micros
from meshca.store.schema import adoption, intent, outcome, probe

_DIALECT: Final[DefaultDialect] = sqlite.dialect(paramstyle="qmark")


def _compiled(statement: ClauseElement) -> tuple[str, Row]:
    compiled: Any = statement.compile(dialect=_DIALECT)
    return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())


def _text(statement: ClauseElement) -> str:
    return _compiled(statement)[0]


_ISSUANCES: Final = select(intent, outcome.c.result, outcome.c.reason, outcome.c.finished_at).select_from(
    intent.outerjoin(outcome, outcome.c.serial == intent.c.serial)
)

INTEND: Final = _text(insert(intent))
# Nothing for a serial without an intent. The first outcome counts: a group that is written again must not fail on
# what is there already.
FINISH: Final = _text(
    sqlite_insert(outcome)
    .from_select(
        ["serial", "result", "reason", "finished_at"],
        select(intent.c.serial, bindparam("result"), bindparam("reason"), bindparam("finished_at")).where(
            intent.c.serial == bindparam("of_serial")
        ),
    )
    .on_conflict_do_nothing()
)
FIND: Final = _text(_ISSUANCES.where(intent.c.serial == bindparam("serial")))


def listing(query: Query) -> tuple[str, Row]:
    """The statement that answers a query, with its parameters."""
    wanted = _ISSUANCES.where(*_conditions(query))
    return _compiled(wanted.order_by(intent.c.intended_at.desc(), intent.c.serial.desc()).limit(query.limit))


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    columns = intent.c
    found: list[ColumnElement[bool]] = []
    if query.spiffe_id is not None:
        found.append(columns.spiffe_id == query.spiffe_id)
        found += [columns.namespace == namespace for namespace in _implied(query.spiffe_id)]
    if query.namespace is not None:
        found.append(columns.namespace == query.namespace)
    if query.pod is not None:
        found.append(or_(columns.pod_name == query.pod, columns.pod_uid == query.pod))
    if query.node is not None:
        found.append(or_(columns.node_name == query.node, columns.node_uid == query.node))
    if query.issuer is not None:
        found.append(columns.issuer == query.issuer)
    if query.result is not None:
        found.append(_of_result(query.result))
    if query.since is not None:
        found.append(columns.intended_at >= micros(query.since))
    if query.until is not None:
        found.append(columns.intended_at < micros(query.until))
    return found


def _implied(spiffe_id: str) -> list[str]:
    """The namespace of an identity, which has an index; none for text that is no identity of ours."""
    try:
        return [SpiffeId.parse(spiffe_id).service_account().namespace]
    except BadRequest:
        return []


def _of_result(result: Result) -> ColumnElement[bool]:
    if result is Result.UNKNOWN:
        return outcome.c.serial.is_(None)
    return outcome.c.result == result.value


def ended(before: int, now: int, after: tuple[int, str], limit: int) -> tuple[str, Row]:
    """Records made before an instant whose certificates have ended, oldest first, beyond a place in that order."""
    columns = intent.c
    place: Select[Any] = (
        select(columns.intended_at, columns.serial)
        .where(
            columns.intended_at < before,
            columns.not_after < now,
            columns.intended_at >= after[0],  # what the index can seek
            or_(
                columns.intended_at > after[0],
                and_(columns.intended_at == after[0], columns.serial > after[1]),
            ),
        )
        .order_by(columns.intended_at, columns.serial)
        .limit(limit)
    )
    return _compiled(place)


FORGET_OUTCOME: Final = _text(delete(outcome).where(outcome.c.serial == bindparam("serial")))
FORGET_INTENT: Final = _text(delete(intent).where(intent.c.serial == bindparam("serial")))

_upsert_adoption = sqlite_insert(adoption)
# Two workers may write the same agent late and out of order; the one that heard it last is right.
ADOPT: Final = _text(
    _upsert_adoption.on_conflict_do_update(
        index_elements=list(adoption.primary_key.columns),
        set_={name: _upsert_adoption.excluded[name] for name in adoption.c.keys()[3:]},
        where=_upsert_adoption.excluded.seen_at >= adoption.c.seen_at,
    )
)
ADOPTIONS: Final = _text(select(adoption).order_by(*adoption.primary_key.columns))
DISCONNECT_STREAM: Final = _text(
    update(adoption)
    .where(adoption.c.worker == bindparam("of_worker"), adoption.c.stream == bindparam("of_stream"))
    .values(connected=literal_column("0"))
)
DISCONNECT_WORKER: Final = _text(
    update(adoption).where(adoption.c.worker == bindparam("of_worker")).values(connected=literal_column("0"))
)
DISCONNECT_EVERYONE: Final = _text(update(adoption).values(connected=literal_column("0")))
FORGET_ADOPTIONS: Final = _text(
    delete(adoption).where(adoption.c.connected == literal_column("0"), adoption.c.seen_at < bindparam("before"))
)

_upsert_probe = sqlite_insert(probe)
PROBE_WRITE: Final = _text(
    _upsert_probe.on_conflict_do_update(
        index_elements=[probe.c.instance],
        set_={
            "sequence": _upsert_probe.excluded.sequence,
            "written_at": _upsert_probe.excluded.written_at,
        },
    )
)
FORGET_PROBES: Final = _text(delete(probe).where(probe.c.written_at < bindparam("before")))
PROBE_READ: Final = _text(select(probe.c.sequence).where(probe.c.instance == bindparam("instance")))
