"""What goes in groups goes as JSON; the rest is SQLite's own text with other marks."""

from __future__ import annotations

import orjson
import pytest

from meshca.errors import InvariantBroken
from meshca.store import sql as plain
from meshca.store.postgres import sql
from meshca.store.postgres.sql import INTENT_COLUMNS, encoded, group, respelled
from meshca.store.rows import intent_row
from tests.fakes.records import intent


def test_marks_are_respelled() -> None:
    """Nothing else."""
    assert respelled("SELECT a FROM b WHERE c = ? AND d = ?") == "SELECT a FROM b WHERE c = %s AND d = %s"


@pytest.mark.parametrize("name", sorted(name for name in vars(plain) if name.isupper() and name[0] != "_"))
def test_no_statement_has_marks_of_both(name: str) -> None:
    """A percent sign in one would be taken for a mark."""
    assert "%" not in getattr(plain, name)


def test_every_statement_has_marks_of_psycopg() -> None:
    """None of SQLite's is left."""
    texts = [value for name, value in vars(sql).items() if name.isupper() and isinstance(value, str)]
    assert not [text for text in texts if "?" in text]


def test_rows_become_one_text() -> None:
    """By name, so that a column may be added."""
    rows = [intent_row(intent(pod_name="a\0")), intent_row(intent())]
    found = orjson.loads(group(encoded(INTENT_COLUMNS, row) for row in rows))
    assert [list(one) for one in found] == [list(INTENT_COLUMNS)] * 2
    assert found[0]["pod_name"] == "a\x1a0"


def test_what_is_no_text_is_refused() -> None:
    """Before it can fail a group."""
    with pytest.raises(InvariantBroken):
        encoded(INTENT_COLUMNS, intent_row(intent(rule="\ud800")))
