"""Counts of handshakes are differences between two readings."""

from __future__ import annotations

from meshca.app.demo.handshakes import Handshakes


def test_what_was_before_does_not_count() -> None:
    """Only what the load added."""
    before = Handshakes(completed=5, resumed=1, failed=2)
    after = Handshakes(completed=25, resumed=1, failed=3)
    assert after.since(before) == Handshakes(completed=20, resumed=0, failed=1)
