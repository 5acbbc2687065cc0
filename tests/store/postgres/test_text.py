"""Every text comes back as it was given, also the one character that PostgreSQL does not know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.store.postgres.text import kept, kept_row, read, read_row

special = st.text(st.sampled_from("\0\x1a01a"))


@given(st.text() | special | st.integers() | st.none())
def test_what_is_kept_is_read_back(value: object) -> None:
    """A law."""
    assert read(kept(value)) == value


@given(st.text() | special)
def test_what_is_kept_has_no_nul(value: str) -> None:
    """A law."""
    assert "\0" not in kept(value)


@given(special, special)
def test_two_texts_stay_two(one: str, other: str) -> None:
    """A law: so that a filter finds what it asks for."""
    assert (kept(one) == kept(other)) is (one == other)


@pytest.mark.parametrize("value", ["web-1", "", "\\0", "ünï", 7, None])
def test_what_is_usual_stays_as_it_is(value: object) -> None:
    """Nobody who looks into the database is surprised."""
    assert kept(value) == value


def test_rows_are_done_column_by_column() -> None:
    """And stay tuples."""
    row = ("a\0", 1, "b")
    assert kept_row(row) == ("a\x1a0", 1, "b")
    assert read_row(kept_row(row)) == row
