"""A lifecycle as the text that a store keeps, its changes as rows, and both strictly back.

What is read here decides which root is trusted: whatever is not what was written, be it one field more, is
refused and never mended.
"""

from __future__ import annotations

import enum
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from meshca.authority.history import Bundle, Change, Kind, Lifecycle, Plan, Record, Request
from meshca.authority.lifecycle import Act, State
from meshca.errors import InvariantBroken
from meshca.store.rows import Row, instant, micros

_NEEDED: Final = object()  # differs from every value
_MICROSECOND: Final = timedelta(microseconds=1)
_WORDS: Final = {str: "text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class _Form:
    """How a value is put into JSON, and taken out; taking out raises ValueError with what was expected."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def body_of(lifecycle: Lifecycle) -> str:
    """Everything but the generation, as JSON."""
    return orjson.dumps(_LIFECYCLE.write(lifecycle)).decode()


def lifecycle_of(generation: int, body: str) -> Lifecycle:
    """What was written as this generation.

    Raises:
        InvariantBroken: reason `lifecycle`, when it is anything else than what `body_of` makes.
    """
    try:
        found: Lifecycle = _LIFECYCLE.read(orjson.loads(body))
        return replace(found, generation=_WHOLE.read(generation))
    except ValueError as error:
        raise _broken(f"generation {generation}", error) from None


def change_rows(lifecycle: Lifecycle, changes: Sequence[Change]) -> list[Row]:
    """The columns of `lifecycle_change` for the changes of one commit.

    Raises:
        InvariantBroken: reason `lifecycle`, when a change names another generation than that of the commit.
    """
    if any(change.generation != lifecycle.generation for change in changes):
        problem = f"a change names another generation than {lifecycle.generation}, which it was committed with"
        raise InvariantBroken("lifecycle", problem)
    return [_change_row(ordinal, change) for ordinal, change in enumerate(changes)]


def _change_row(ordinal: int, change: Change) -> Row:
    return (
        change.generation,
        ordinal,
        change.authority,
        change.kind.value,
        "" if change.act is None else change.act.value,
        "" if change.before is None else change.before.value,
        change.after.value,
        change.guard,
        int(change.forced),
        change.by,
        change.reason,
        micros(change.at),
    )


def change_of(row: Row) -> Change:
    """The change in the columns of `lifecycle_change`.

    Raises:
        InvariantBroken: reason `lifecycle`, when it is anything else than what `change_rows` makes.
    """
    try:
        return Change(
            generation=_WHOLE.read(row[0]),
            authority=_TEXT.read(row[2]),
            kind=_KIND.read(row[3]),
            act=_ACT.read(row[4]) if row[4] else None,
            before=_STATE.read(row[5]) if row[5] else None,
            after=_STATE.read(row[6]),
            guard=_TEXT.read(row[7]),
            forced=_bit(row[8]),
            by=_TEXT.read(row[9]),
            reason=_TEXT.read(row[10]),
            at=_TIME.read(row[11]),
        )
    except ValueError as error:
        raise _broken(f"a change of generation {row[0]}", error) from None


def _broken(what: str, error: ValueError) -> InvariantBroken:
    # A parser may quote what is stored; our own words never do.
    why = "is no JSON" if isinstance(error, orjson.JSONDecodeError) else str(error)
    return InvariantBroken("lifecycle", f"the store's {what} is damaged: {why}; restore a copy of the store")


def _plain(kind: type) -> Callable[[Any], Any]:
    def read(found: object) -> object:
        if type(found) is not kind:  # a truth is a whole number to Python, not to us
            raise ValueError(f"expected {_WORDS[kind]}")
        return found

    return read


def _same(value: object) -> object:
    return value


def _one_of(kind: type[enum.StrEnum]) -> _Form:
    known = {one.value: one for one in kind}

    def read(found: object) -> enum.StrEnum:
        if not isinstance(found, str) or found not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return known[found]

    return _Form(lambda one: one.value, read)


def _maybe(form: _Form) -> _Form:
    return _Form(
        lambda value: None if value is None else form.write(value),
        lambda found: None if found is None else form.read(found),
    )


def _many(form: _Form) -> _Form:
    def read(found: object) -> tuple[object, ...]:
        if not isinstance(found, list):
            raise ValueError("expected a list")  # noqa: TRY004 - one kind of error for all that is damaged
        return tuple(map(form.read, found))

    return _Form(lambda values: [form.write(value) for value in values], read)


def _object(made: type[Any], added: Collection[str] = (), /, **forms: _Form) -> _Form:
    """A value with these fields; those `added` since have a default, and are left out where they have it.

    So what was written before there were such is read, and so is by an older replica what needs none of them.
    """
    needed = forms.keys() - set(added)
    usual = {one.name: one.default for one in fields(made) if one.name in added}

    def write(value: object) -> object:
        held = {name: getattr(value, name) for name in forms}
        return {name: forms[name].write(it) for name, it in held.items() if usual.get(name, _NEEDED) != it}

    def read(found: object) -> object:
        if not isinstance(found, dict) or not needed <= found.keys() <= forms.keys():
            raise ValueError(f"expected an object of {', '.join(forms)}")
        return made(**{name: _field(name, forms[name], value) for name, value in found.items()})

    return _Form(write, read)


def _field(name: str, form: _Form, found: object) -> object:
    try:
        return form.read(found)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _instant(found: object) -> datetime:
    try:
        return instant(_WHOLE.read(found))
    except OverflowError:
        raise ValueError("expected microseconds since 1970") from None


def _span(found: object) -> timedelta:
    microseconds: int = _WHOLE.read(found)  # JSON's have 64 bits, which is less than the longest span
    return microseconds * _MICROSECOND


def _bytes(found: object) -> bytes:
    try:
        return b64decode(_TEXT.read(found), validate=True)
    except ValueError:
        raise ValueError("expected Base64") from None


def _bit(found: object) -> bool:
    if found not in {0, 1}:
        raise ValueError("expected 0 or 1")
    return bool(found)


_TEXT: Final = _Form(_same, _plain(str))
_WHOLE: Final = _Form(_same, _plain(int))
_TRUTH: Final = _Form(_same, _plain(bool))
_TIME: Final = _Form(micros, _instant)
_SPAN: Final = _Form(lambda span: span // _MICROSECOND, _span)
_BYTES: Final = _Form(lambda data: b64encode(data).decode(), _bytes)
_KIND: Final = _one_of(Kind)
_STATE: Final = _one_of(State)
_ACT: Final = _one_of(Act)
_RECORD: Final = _object(
    Record,
    id=_TEXT,
    kind=_KIND,
    state=_STATE,
    pem=_TEXT,
    parent=_TEXT,
    since=_TIME,
    trusted_since=_maybe(_TIME),
    replica=_TEXT,
)
_BUNDLE: Final = _object(Bundle, sequence=_WHOLE, version=_TEXT, roots=_many(_TEXT), at=_TIME)
_PLAN: Final = _object(
    Plan,
    ("urgent_by",),
    old=_TEXT,
    new=_TEXT,
    automatic=_TRUTH,
    paused=_TRUTH,
    compromised=_TRUTH,
    window=_SPAN,
    tainted_at=_maybe(_TIME),
    started_at=_TIME,
    by=_TEXT,
    reason=_TEXT,
    urgent_by=_TEXT,
)
_REQUEST: Final = _object(
    Request,
    ("breaks", "urgent", "root"),
    id=_TEXT,
    act=_TEXT,
    body=_BYTES,
    says=_TEXT,
    by=_TEXT,
    reason=_TEXT,
    at=_TIME,
    until=_TIME,
    breaks=_WHOLE,
    urgent=_TRUTH,
    root=_TEXT,
)
_LIFECYCLE: Final = _object(
    Lifecycle, records=_many(_RECORD), bundles=_many(_BUNDLE), plan=_maybe(_PLAN), requests=_many(_REQUEST)
)
