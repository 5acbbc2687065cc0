"""Text and rows of lifecycles say what they say, and nothing that was not written is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given

from meshca.authority.history import Change, Lifecycle
from meshca.errors import InvariantBroken
from meshca.store.lifecycle_rows import body_of, change_of, change_rows, lifecycle_of
from meshca.store.schema import lifecycle_change
from tests.fakes.any_lifecycles import changes, lifecycles
from tests.fakes.generations import change, generation

ONE = generation(1)


@given(lifecycles)
def test_lifecycles_survive(one: Lifecycle) -> None:
    """The text of a lifecycle reads as the same one."""
    assert lifecycle_of(one.generation, body_of(one)) == one


@given(changes)
def test_changes_survive(one: Change) -> None:
    """The row of a change reads as the same one."""
    (row,) = change_rows(replace(ONE, generation=one.generation), [one])
    assert change_of(row) == one


@given(changes)
def test_rows_are_plain_and_as_wide_as_their_table(one: Change) -> None:
    """Statements take them by position; the database module has a slow way for enumerations."""
    (row,) = change_rows(replace(ONE, generation=one.generation), [one])
    assert (len(row), {type(value) for value in row} <= {str, int}) == (len(lifecycle_change.c), True)


def test_changes_are_numbered_within_their_commit() -> None:
    """From zero, in the order given."""
    assert [row[1] for row in change_rows(ONE, [change(1), change(1)])] == [0, 1]


def refusal(body: str, number: Any = 1) -> str:
    """Why a stored lifecycle is not believed."""
    with pytest.raises(InvariantBroken) as caught:
        lifecycle_of(number, body)
    assert caught.value.reason == "lifecycle"
    return caught.value.detail


def changed(change: Callable[[Any], object]) -> str:
    """A good body that somebody has meddled with."""
    body = orjson.loads(body_of(ONE))
    change(body)
    return orjson.dumps(body).decode()


def put(*path: Any) -> Callable[[Any], None]:
    """Put the last of these at the place that the others name."""
    *way, last, value = path

    def change(body: Any) -> None:
        for step in way:
            body = body[step]
        body[last] = value

    return change


ROWS: dict[str, tuple[Callable[[Any], object], str]] = {
    "missing field": (lambda body: body.pop("plan"), "expected an object of records, bundles, plan, requests"),
    "field too many": (put("extra", 1), "expected an object of records, bundles, plan, requests"),
    "missing field of a record": (lambda body: body["records"][0].pop("pem"), "records: expected an object of id"),
    "field too many of a record": (put("records", 0, "extra", 1), "records: expected an object of id"),
    "list for an object": (put("records", 0, []), "records: expected an object of id"),
    "object for a list": (put("records", {}), "records: expected a list"),
    "unknown state": (put("records", 0, "state", "resting"), "records: state: expected one of prepared, "),
    "unhashable state": (put("records", 0, "state", []), "records: state: expected one of prepared, "),
    "unknown kind": (put("records", 0, "kind", "leaf"), "records: kind: expected one of root, intermediate"),
    "number for a text": (put("records", 0, "id", 7), "records: id: expected text"),
    "nothing for a text": (put("records", 0, "parent", None), "records: parent: expected text"),
    "text for a time": (put("bundles", 0, "at", "now"), "bundles: at: expected a whole number"),
    "fraction for a number": (put("bundles", 0, "sequence", 1.0), "bundles: sequence: expected a whole number"),
    "truth for a number": (put("bundles", 0, "sequence", True), "bundles: sequence: expected a whole number"),
    "time beyond all years": (put("bundles", 0, "at", 2**62), "bundles: at: expected microseconds since 1970"),
    "text for a window": (put("plan", "window", "5m"), "plan: window: expected a whole number"),
    "number for a truth": (put("plan", "automatic", 1), "plan: automatic: expected true or false"),
    "text for a list of texts": (put("bundles", 0, "roots", "ab"), "bundles: roots: expected a list"),
    "numbers for a list of texts": (put("bundles", 0, "roots", [1]), "bundles: roots: expected text"),
    "letters outside of Base64": (put("requests", 0, "body", "?"), "requests: body: expected Base64"),
    "a half of Base64": (put("requests", 0, "body", "a"), "requests: body: expected Base64"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_a_body_that_was_not_written_so_is_refused(row: str) -> None:
    """And what was expected is said, with the name of the field."""
    change, words = ROWS[row]
    said = refusal(changed(change))
    assert said.startswith(f"the store's generation 1 is damaged: {words}")
    assert said.endswith("; restore a copy of the store")


def test_requests_of_before_can_be_read() -> None:
    """Those that wait while a server is replaced were written without the count of who would break."""
    body = changed(lambda body: body["requests"][0].pop("breaks", None))
    assert lifecycle_of(1, body).requests[0].breaks == 0


@pytest.mark.parametrize(("urgent", "written"), [(False, False), (True, True)])
def test_an_older_replica_reads_what_needs_nothing_new(*, urgent: bool, written: bool) -> None:
    """A field that has its default is left out; it is read all the same."""
    life = replace(ONE, requests=(replace(ONE.requests[0], urgent=urgent),))
    assert ('"urgent"' in body_of(life)) is written
    assert lifecycle_of(life.generation, body_of(life)) == life


@pytest.mark.parametrize("by", ["", "uid 7"])
def test_a_rotation_of_before_can_be_read(by: str) -> None:
    """Who made it urgent is written only where somebody did."""
    assert ONE.plan is not None
    life = replace(ONE, plan=replace(ONE.plan, urgent_by=by))
    assert ('"urgent_by"' in body_of(life)) is bool(by)
    assert lifecycle_of(life.generation, body_of(life)) == life


@pytest.mark.parametrize("body", ["", "{", "null", "[]", "{}", "\ufeff{}"])
def test_half_a_body_is_refused(body: str) -> None:
    """It is not taken for an empty lifecycle."""
    assert "is damaged" in refusal(body)


def test_what_is_stored_is_not_repeated() -> None:
    """A parser would quote it."""
    assert "the store's generation 1 is damaged: is no JSON;" in refusal('{"records": secret}')


def test_a_generation_is_a_whole_number() -> None:
    """SQLite would keep a text there too."""
    assert "expected a whole number" in refusal(body_of(ONE), "1")


CELLS = {
    "generation": (0, "1", "expected a whole number"),
    "kind": (3, "", "expected one of root, intermediate"),
    "act": (4, "dance", "expected one of distribute"),
    "state_before": (5, "resting", "expected one of prepared"),
    "state_after": (6, "", "expected one of prepared"),
    "authority": (2, b"x", "expected text"),
    "forced": (8, 2, "expected 0 or 1"),
    "changed_at": (11, 2**62, "expected microseconds since 1970"),
}


@pytest.mark.parametrize("column", CELLS)
def test_a_row_that_was_not_written_so_is_refused(column: str) -> None:
    """History is not guessed."""
    place, value, words = CELLS[column]
    row = list(change_rows(ONE, [change(1)])[0])
    row[place] = value
    with pytest.raises(InvariantBroken) as caught:
        change_of(tuple(row))
    assert (caught.value.reason, words in caught.value.detail) == ("lifecycle", True)
