"""Serials: unique to a worker, positive, short enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authority.serials import LARGEST_PREFIX, Serials
from meshca.svid.lint import SERIAL_BITS


@given(st.integers(1, LARGEST_PREFIX), st.integers(0, 2**128 - 1))
def test_prefix_and_random_bits(prefix: int, drawn: int) -> None:
    """A serial is the prefix, then the random bits, and of a length that the lint allows."""
    serial = Serials(prefix, lambda bits: drawn if bits == 128 else -1).draw()
    assert (serial >> 128, serial & (2**128 - 1)) == (prefix, drawn)
    assert serial.bit_length() in SERIAL_BITS


def test_drawn_afresh() -> None:
    """A thousand serials are all different."""
    serials = Serials(1)
    assert len({serials.draw() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("prefix", [-1, 0, LARGEST_PREFIX + 1])
def test_prefix_out_of_range(prefix: int) -> None:
    """A prefix that would make a serial short, negative or too long is refused."""
    with pytest.raises(ValueError, match="1 to 32767"):
        Serials(prefix)
