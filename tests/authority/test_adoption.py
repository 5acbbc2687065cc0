"""What counts of all that was said."""

from __future__ import annotations

from datetime import datetime

import pytest

from meshca.authority.adoption import Kind, standing
from tests.fakes.pki import NOW
from tests.fakes.roots import SECOND, agent

EARLIER = NOW - SECOND


def test_every_open_stream_counts() -> None:
    """Also when one speaker has several, and whoever was heard last."""
    rows = [agent(stream="1", seen_at=EARLIER), agent(stream="2")]
    assert standing(rows) == rows


@pytest.mark.parametrize("late", [EARLIER, NOW + SECOND], ids=["heard-before", "heard-after"])
def test_a_stream_that_has_ended_does_not_count_beside_an_open_one(late: datetime) -> None:
    """Its speaker has come back, whenever the last word of the old one was noted."""
    old, back = agent(stream="1", connected=False, seen_at=late), agent(stream="2")
    assert standing([old, back]) == standing([back, old]) == [back]


def test_of_streams_that_have_ended_the_last_word_counts() -> None:
    """In whichever order they are told."""
    first, last = agent(stream="1", connected=False, seen_at=EARLIER), agent(stream="2", connected=False)
    assert standing([first, last]) == standing([last, first]) == [last]


def test_speakers_and_kinds_do_not_replace_each_other() -> None:
    """Another pod, name or instance is another speaker."""
    rows = [
        agent(connected=False),
        agent(connected=False, kind=Kind.POLICIES),
        agent(pod="web-2"),
        agent(node_id="other"),
        agent(instance="b"),
    ]
    assert standing(rows) == rows


def test_nobody_stands_where_nobody_spoke() -> None:
    """No row, nothing."""
    assert standing([]) == []
