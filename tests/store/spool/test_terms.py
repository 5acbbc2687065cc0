"""How much may be spooled, and how much is."""

from __future__ import annotations

from meshca.store.spool.terms import NOTHING


def test_nothing_has_no_age() -> None:
    """An empty spool is not old."""
    assert (NOTHING.records, NOTHING.oldest) == (0, None)
