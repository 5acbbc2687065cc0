"""The demo waits for an answer to flip, but not for ever."""

from __future__ import annotations

import pytest

from meshca.app.demo.answers import SOON, until
from meshca.app.demo.calls import Reply
from meshca.errors import InvariantBroken
from tests.fakes.hurried_clock import HurriedClock


class Service:
    """Answers 403 until it was asked often enough."""

    def __init__(self, refusals: int) -> None:
        self._left = refusals

    async def call(self) -> Reply:
        """One answer."""
        self._left -= 1
        return Reply(status=200 if self._left < 0 else 403, text="")


@pytest.mark.parametrize(("refusals", "seconds"), [(0, 0.0), (5, 0.1)], ids=["at once", "later"])
async def test_it_says_how_long_the_flip_took(refusals: int, seconds: float) -> None:
    """In seconds of the clock that it was given."""
    assert await until(Service(refusals).call, 200, HurriedClock()) == pytest.approx(seconds)


async def test_an_answer_that_does_not_flip_is_a_failure() -> None:
    """It names what it still is."""
    clock = HurriedClock()
    with pytest.raises(InvariantBroken, match="was answered 403, expected 200"):
        await until(Service(100_000).call, 200, clock)
    assert clock.monotonic() == pytest.approx(SOON, abs=0.1)
