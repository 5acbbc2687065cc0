"""One value of a policy: `abc` exactly, `abc*` as a beginning, `*abc` as an end, `*` for anything present.

The star stands alone, first or last. Istio reads a star anywhere else as a plain character, so that a DENY on
`*admin*` hardly ever denies; here it is refused.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import AnyStr

from meshca.errors import BadRequest

MAX_LENGTH = 1024  # characters; longer than any path or SPIFFE ID that a policy names in practice


class Match(enum.Enum):
    """How the text of a pattern is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value with its way of comparison; `Pattern.parse(str(x)) == x`."""

    match: Match
    text: str

    @classmethod
    def parse(cls, value: str) -> Pattern:
        """Read a value of a policy.

        Raises:
            BadRequest: reason `pattern`, when it is empty, too long, or has a star inside.
        """
        if not value:
            raise BadRequest("pattern", "an empty value matches nothing; write * for anything, or remove it")
        if len(value) > MAX_LENGTH:
            raise BadRequest("pattern", f"a value must be at most {MAX_LENGTH} characters")
        found = _split(value)
        if "*" in found.text:
            raise BadRequest(
                "pattern",
                "a star may only stand alone, first or last; templates such as {*} are not supported yet",
            )
        return found

    def matches(self, value: str) -> bool:
        """Whether a value of a request is one that the pattern means; presence needs at least one character."""
        return compare(self.match, self.text, value)

    def __str__(self) -> str:
        match self.match:
            case Match.EXACT:
                return self.text
            case Match.PREFIX:
                return f"{self.text}*"
            case Match.SUFFIX:
                return f"*{self.text}"
            case _:  # presence
                return "*"


def compare(match: Match, text: AnyStr, value: AnyStr) -> bool:
    """Compare a value with a text, both as str or both as bytes."""
    match match:
        case Match.EXACT:
            return value == text
        case Match.PREFIX:
            return value.startswith(text)
        case Match.SUFFIX:
            return value.endswith(text)
        case _:  # presence
            return bool(value)


def _split(value: str) -> Pattern:
    if value == "*":
        return Pattern(Match.PRESENT, "")
    if value.startswith("*"):
        return Pattern(Match.SUFFIX, value[1:])
    if value.endswith("*"):
        return Pattern(Match.PREFIX, value[:-1])
    return Pattern(Match.EXACT, value)
