"""Reads points in time from flags: `2026-01-01`, `2026-01-01T12:00:00Z`, or an age such as `1h` or `7d`."""

from __future__ import annotations

from datetime import UTC, datetime

from meshca.errors import ConfigError


def parse_instant(text: str, now: datetime, flag: str) -> datetime:
    """The instant that a flag names.

    Args:
        text: an ISO 8601 date or time (UTC unless it says otherwise), or an age before now.
        now: ages count from it.
        flag: its name, for the error.

    Raises:
        ConfigError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return _ago(text, now, flag)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ago(text: str, now: datetime, flag: str) -> datetime:
    from meshca.duration import parse_duration

    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        problem = "expected a time such as 2026-01-01T12:00:00Z, a date, or an age such as 90m, 24h or 7d"
        raise ConfigError(flag, [problem]) from None
