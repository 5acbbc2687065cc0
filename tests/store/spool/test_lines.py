"""A record is read back from its line as it was written, and nothing else is a record."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given

from meshca.errors import InvariantBroken
from meshca.ledger.record import Intent, Outcome
from meshca.store.spool.lines import intent_line, outcome_line, record_of
from tests.fakes.any_records import intents, outcomes
from tests.fakes.records import intent, issued


@given(intents)
def test_any_intent_is_read_back(one: Intent) -> None:
    """A law."""
    assert record_of(intent_line(one)) == one


@given(outcomes)
def test_any_outcome_is_read_back(one: Outcome) -> None:
    """A law."""
    assert record_of(outcome_line(one)) == one


@given(intents)
def test_a_record_is_one_line(one: Intent) -> None:
    """Whatever its texts hold."""
    assert intent_line(one).splitlines(keepends=True) == [intent_line(one)]


def test_what_is_no_text_is_refused() -> None:
    """Half of a surrogate pair cannot be written by anybody."""
    with pytest.raises(InvariantBroken) as caught:
        intent_line(replace(intent(), pod_name="\ud800"))
    assert caught.value.reason == "store_value"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"{}",
        b'{"intent": {}}',
        b'{"intent": []}',
        b'{"intent": 1}',
        b'{"outcome": []}',
        b'{"outcome": ["unknown", "", 1, "ab"]}',
        b'{"outcome": ["done", "", 1, "ab"]}',
        b'{"outcome": ["issued", "", "now", "ab"]}',
        b'{"outcome": ["issued", "", 999999999999999999999, "ab"]}',
        intent_line(intent())[:-20],
        orjson.dumps({"intent": orjson.loads(intent_line(intent()))["intent"] | {"serial": "00"}}),
        outcome_line(issued(intent()))[:-3],
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    """With one kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        record_of(line)
