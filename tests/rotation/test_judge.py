"""What a gate makes of published roots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from meshca.authority.gate import Gate
from meshca.authority.lifecycle import Act, State
from meshca.rotation.judge import Judge, Publication
from tests.fakes.clock import FakeClock
from tests.fakes.pki import NOW
from tests.fakes.roots import HOUR, MINUTE, NEW, root, rotating
from tests.fakes.rotation_rig import TERMS, FakeCensus

ASKED = replace(TERMS, published_for=5 * MINUTE)


@dataclass(frozen=True, slots=True)
class Since:
    """Implements `rotation.judge.Publication`: every root since then."""

    at: datetime | None

    def published_since(self, root: str) -> datetime | None:
        """As the test says, of the new root only."""
        return self.at if root == NEW else None


async def judged(publication: Publication | None, terms: timedelta = ASKED.published_for) -> Gate:
    """Whether a root that was given out an hour ago may sign."""
    judge = Judge(
        census=FakeCensus(),
        terms=replace(TERMS, published_for=terms),
        clock=FakeClock(NOW),
        publication=publication,
    )
    record = replace(root(NEW, State.DISTRIBUTING), trusted_since=NOW - HOUR)
    return await judge.gate(rotating(), Act.ACTIVATE, record)


@pytest.mark.parametrize(
    ("since", "is_open", "opens_at", "words"),
    [
        (None, False, None, "it is not in the published roots yet; see the ConfigMaps in `meshca status`"),
        (NOW - MINUTE, False, NOW + 4 * MINUTE, "readers of the published roots have had it long enough at"),
        (NOW - 5 * MINUTE, True, None, ""),
    ],
    ids=["not-everywhere", "too-short", "long-enough"],
)
async def test_time_counts_from_publication(
    since: datetime | None,
    is_open: bool,  # noqa: FBT001 - a row
    opens_at: datetime | None,
    words: str,
) -> None:
    """Not from when the root was given out to agents."""
    gate = await judged(Since(since))
    assert (gate.open, gate.opens_at) == (is_open, opens_at)
    assert words in gate.why


async def test_nobody_tells() -> None:
    """Where terms ask for it and nobody tells of publication, the gate is closed."""
    assert not (await judged(None)).open


async def test_not_asked_for() -> None:
    """Where nothing is published nobody is asked."""
    assert (await judged(None, timedelta(0))).open
