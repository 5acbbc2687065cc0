"""Serial numbers that no two workers can draw alike and nobody can guess."""

from __future__ import annotations

import secrets
from collections.abc import Callable

RANDOM_BITS = 128
LARGEST_PREFIX = (
    0x7FFF  # 15 bits: with 128 random ones 143, and at most 159 are allowed (RFC 5280 section 4.1.2.2)
)


class Serials:
    """Draws serials: a prefix that names the replica and worker, then 128 random bits.

    Args:
        prefix: 1 to 0x7FFF; not zero, so that every serial has more than 128 bits and none is negative.
        random_bits: gives that many random bits; replaced only in tests.

    Raises:
        ValueError: when the prefix is out of range.
    """

    def __init__(self, prefix: int, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        if not 1 <= prefix <= LARGEST_PREFIX:
            raise ValueError(f"the prefix of serials must be 1 to {LARGEST_PREFIX}")
        self._prefix = prefix << RANDOM_BITS
        self._random_bits = random_bits

    def draw(self) -> int:
        """A new serial: positive, at most 18 octets."""
        return self._prefix | self._random_bits(RANDOM_BITS)
