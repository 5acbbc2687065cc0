"""Words of findings."""

from __future__ import annotations

import pytest

from meshca.doctor.finding import Unseen, some, unknown


@pytest.mark.parametrize(("count", "expected"), [(0, ""), (1, "a"), (3, "a, b, c"), (5, "a, b, c and 2 more")])
def test_some(count: int, expected: str) -> None:
    """The first ones by name, the others by number."""
    assert some(list("abcde"[:count])) == expected


def test_unseen() -> None:
    """Carries what it means."""
    assert Unseen("not there", "look").said == unknown("not there", "look")
