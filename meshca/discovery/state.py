"""What an xDS session remembers: one row for each name, and the last push.

Values of the state table in `session`; no decision that needs more than one row is made here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from meshca.discovery.event import Resource

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0  # seconds from a refusal until the same content is tried again


class Answer(enum.Enum):
    """What the client has said about the last push."""

    AWAITED = enum.auto()
    LATE = enum.auto()  # reported as overdue; an answer still counts, but nothing waits for it
    ACKED = enum.auto()
    NACKED = enum.auto()


@dataclass(slots=True)
class Name:
    """One subscribed name. Versions are content versions; an empty string means none."""

    sent: str = ""  # what went out last; empty makes the current value due
    good: Resource | None = None  # what the client acknowledged last
    refused: str = ""  # what it refused; held back while it is the current value
    retried: str = ""  # refused content that has had its second chance
    repair: bool = False  # the last good value is due again
    ill: bool = False  # the last answer was a refusal
    alone: bool = False  # goes out by itself, so that its answer is about it only
    pause: float = FIRST_PAUSE  # how long the refused content is held back
    again_at: float | None = None  # when that pause ends; known from the first look at a clock on

    def afresh(self) -> Name:
        """As if just subscribed to, but knowing what the client holds."""
        return Name(good=self.good, ill=self.ill)

    def refuse(self, content: str) -> None:
        """Hold this content back."""
        if self.retried != content:
            self.pause = FIRST_PAUSE
        self.refused, self.again_at = content, None

    def forgive(self) -> None:
        """Make a refused content due once more, if it has not had that chance."""
        if self.refused and self.retried != self.refused:
            self.retry(self.refused)

    def insist(self, now: float) -> None:
        """Make a refused content due once more after its pause; the next one is twice as long."""
        if not self.refused:
            return
        if self.again_at is None:
            self.again_at = now + self.pause
        elif now >= self.again_at:
            self.retry(self.refused, pause=min(2 * self.pause, LONGEST_PAUSE))

    def retry(self, content: str, *, pause: float = FIRST_PAUSE) -> None:
        """Make this content due again; `pause` is for the case that it is refused again."""
        self.retried, self.refused, self.sent, self.repair = content, "", "", False
        self.pause = pause


@dataclass(slots=True)
class Flight:
    """The last push: its resources by content version, and the answer so far."""

    nonce: str
    version: str
    resources: tuple[Resource, ...]
    deadline: float
    answer: Answer = Answer.AWAITED
    excused: bool = False  # another name of this client recovered meanwhile

    @property
    def versions(self) -> Mapping[str, str]:
        """Content versions by name."""
        return {resource.name: resource.version for resource in self.resources}
