"""What a check says: ok, wrong or unknown, what was found, and what mends it.

`wrong` is said only of what was seen to be wrong. What could not be looked at, for lack of a permission or of an
answer, is `unknown`, so that a doctor with few rights raises no false alarm.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How it is."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one look gave.

    Attributes:
        verdict: how it is.
        found: what was seen, in one line.
        mend: each a command, a setting, or where to look; empty when it is ok.
    """

    verdict: Verdict
    found: str
    mend: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check of this name said.

    Attributes:
        name: of the check, a stable slug.
        verdict, found, mend: as in `Said`.
    """

    name: str
    verdict: Verdict
    found: str
    mend: tuple[str, ...] = ()


class Unseen(Exception):
    """Something could not be looked at; a check may let it pass, and is then unknown for this reason.

    Attributes:
        said: the reason.
    """

    def __init__(self, found: str, *mend: str) -> None:
        super().__init__(found)
        self.said = unknown(found, *mend)


def ok(found: str) -> Said:
    """As it should be."""
    return Said(verdict=Verdict.OK, found=found)


def wrong(found: str, *mend: str) -> Said:
    """Seen to be wrong."""
    return Said(verdict=Verdict.WRONG, found=found, mend=mend)


def unknown(found: str, *mend: str) -> Said:
    """Not seen."""
    return Said(verdict=Verdict.UNKNOWN, found=found, mend=mend)


def some(names: list[str], shown: int = 3) -> str:
    """The first of many names: `a, b, c and 4 more`."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
