"""What the demo reads out of the history; the rotation itself is walked by the demo's own test."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from meshca.app.demo.rotation import PHASES, phases
from tests.fakes.pki import NOW


def change(act: str, seconds: float, kind: str = "root") -> dict[str, Any]:
    """A line of `meshca root history --output json`."""
    at: datetime = NOW + timedelta(seconds=seconds)
    return {"kind": kind, "act": act, "at": at.isoformat()}


ROTATION = [
    change("retire", 9.5),
    change("retire", 9.6, "intermediate"),
    change("activate", 2.25),
    change("supersede", 2.25),
    change("activate", 1.0, "intermediate"),
    change("plan", 0.5),
    change("distribute", 0.5),
    change("made", 0.5),
]


def test_each_phase_from_the_one_before() -> None:
    """Of roots only: intermediates come and go beside."""
    assert phases(ROTATION) == {"activate": 1.75, "retire": 7.25}


def test_of_several_rotations_the_newest() -> None:
    """The history begins with the newest change."""
    before = [change("retire", -50), change("activate", -60), change("distribute", -90)]
    assert phases([*ROTATION, *before]) == phases(ROTATION)


def test_every_phase_is_told() -> None:
    """In the order in which they end."""
    assert list(phases(ROTATION)) == list(PHASES)


@pytest.mark.parametrize("missing", ["distribute", *PHASES])
def test_a_rotation_that_did_not_end_has_no_phases(missing: str) -> None:
    """The demo fails rather than to tell of half of it."""
    with pytest.raises(KeyError, match=missing):
        phases([one for one in ROTATION if one["act"] != missing or one["kind"] != "root"])
