"""Chance that a test sets by hand."""

from __future__ import annotations

import random


class Jitter(random.Random):
    """Draws the same part of every interval: 0 is its beginning, 1 its end."""

    def __init__(self, part: float) -> None:
        super().__init__(0)
        self.part = part

    def random(self) -> float:
        """The part that was set."""
        return self.part
