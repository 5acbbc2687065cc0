"""Statements put together from filters, in SQLAlchemy Core: listing and pruning, which workers never do.

Imported when first needed: see `sql` for the others.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ClauseElement, ColumnElement, Select, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId
from meshca.ledger.query import Query
from meshca.ledger.record import Result
from meshca.store.rows import Row, micros
from meshca.store.schema import intent, outcome

SQLITE: Final[DefaultDialect] = sqlite.dialect(paramstyle="qmark")
POSTGRESQL: Final[DefaultDialect] = postgresql.dialect(paramstyle="format")  # type: ignore[no-untyped-call] # untyped there
_ISSUANCES: Final = select(intent, outcome.c.result, outcome.c.reason, outcome.c.finished_at).select_from(
    intent.outerjoin(outcome, outcome.c.serial == intent.c.serial)
)


def compiled(statement: ClauseElement, dialect: DefaultDialect = SQLITE) -> tuple[str, Row]:
    """The text of a statement and its parameters, in order."""
    made: Any = statement.compile(dialect=dialect)
    return str(made), tuple(made.params[name] for name in made.positiontup or ())


def listing(query: Query, dialect: DefaultDialect = SQLITE) -> tuple[str, Row]:
    """The statement that answers a query, with its parameters."""
    wanted = _ISSUANCES.where(*_conditions(query))
    return compiled(
        wanted.order_by(intent.c.intended_at.desc(), intent.c.serial.desc()).limit(query.limit), dialect
    )


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
    return compiled(place)
