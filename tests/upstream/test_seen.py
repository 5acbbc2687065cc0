"""What counts as seen by the driver, whoever else looks."""

from __future__ import annotations

from meshca.upstream.seen import Seen


def test_first_of_a_turn() -> None:
    """What is seen later in the same turn would be a change."""
    seen = Seen()
    seen.note("one")
    seen.note("two")
    with seen.watched() as what:
        assert what == "one"


def test_next_turn() -> None:
    """Sees anew."""
    seen = Seen()
    seen.note("one")
    with seen.watched():
        pass
    seen.note("two")
    with seen.watched() as what:
        assert what == "two"


def test_while_it_is_watched() -> None:
    """Who looks meanwhile sees for itself alone, and the next turn sees for itself."""
    seen = Seen()
    seen.note("one")
    with seen.watched() as what:
        seen.note("two")
        assert what == "one"
    seen.note("three")
    with seen.watched() as what:
        assert what == "three"
