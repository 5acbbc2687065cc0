"""What is made of the moments of a rotation."""

from __future__ import annotations

import pytest

from bench.rotation import busiest


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([5.0], 1, id="one"),
        pytest.param([0.0, 0.9, 1.0, 1.8], 3, id="across-two-seconds-of-the-clock"),
        pytest.param([3.0, 1.0, 2.0], 1, id="a-second-apart-in-any-order"),
    ],
)
def test_the_busiest_second_begins_anywhere(moments: list[float], expected: int) -> None:
    """The most that happened within any second, not only within one of the clock's."""
    assert busiest(moments) == expected
