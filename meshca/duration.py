"""Durations as people write them: digits with a unit, so that nobody has to know whether a number means seconds.

The one spelling for configuration, flags and rule files. It must never accept a bare number, and it imports no
library, because the agent reads its flags with it.
"""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `24h`, `7d`, `250ms` or a row of them, largest first, such as `1h30m`.

    Raises:
        ValueError: with what was expected, when it is anything else.
    """
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        raise ValueError("expected a duration with a unit, such as 24h, 10m, 90s or 250ms")
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """The shortest spelling that `parse_duration` reads back, to the millisecond."""
    milliseconds = round(value / timedelta(milliseconds=1))
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
