"""A record as a line of a spool file, and back: JSON with the names of the store's columns.

A line that is not whole was never reported as recorded; one that is whole and cannot be read is damage.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from meshca.errors import InvariantBroken
from meshca.ledger.record import Intent, Outcome, Result
from meshca.store.rows import instant, intent_row, issuance_of, outcome_row
from meshca.store.sql import _INTENT_COLUMNS as COLUMNS

_INTENT: Final = "intent"
_OUTCOME: Final = "outcome"
_NO_OUTCOME: Final = (None, None, None)


def intent_line(intent: Intent) -> bytes:
    """An intent, with the newline that makes it whole.

    Raises:
        InvariantBroken: reason `store_value`: it holds what is no text.
    """
    return _line({_INTENT: dict(zip(COLUMNS, intent_row(intent), strict=True))})


def outcome_line(outcome: Outcome) -> bytes:
    """An outcome, with the newline that makes it whole.

    Raises:
        InvariantBroken: as `intent_line`.
    """
    return _line({_OUTCOME: list(outcome_row(outcome))})


def record_of(line: bytes) -> Intent | Outcome:
    """What a whole line says.

    Raises:
        ValueError: nothing that we write.
    """
    tree: Any = orjson.loads(line)
    try:
        if (columns := tree.get(_INTENT)) is not None:
            return issuance_of((*(columns[name] for name in COLUMNS), *_NO_OUTCOME)).intent
        result, reason, finished_at, serial = tree[_OUTCOME]
        return Outcome(serial=serial, result=Result(result), reason=reason, finished_at=instant(finished_at))
    except (AttributeError, KeyError, TypeError, OverflowError, InvariantBroken) as error:
        raise ValueError("expected an intent or an outcome") from error


def _line(tree: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(tree, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        raise InvariantBroken("store_value", "a record holds what is no text") from None
