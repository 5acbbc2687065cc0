"""Makes values fit a terminal's columns: times, identities, long and foreign text. Rules only, no printing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SpiffeId
from meshca.printable import printable

WIDTH: Final = 100  # columns that every table and text must fit


def iso(instant: datetime) -> str:
    """`2026-01-01T00:00:00Z`: in UTC, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact(instant: datetime) -> str:
    """As `iso`, to the microsecond where there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def fit(text: str, width: int) -> str:
    """At most so many characters, printable; what is cut is cut from the middle."""
    text = printable(text)
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def workload(spiffe_id: str) -> str:
    """`namespace/account` for an identity of ours, else the text itself."""
    try:
        return str(SpiffeId.parse(spiffe_id).service_account())
    except BadRequest:
        return spiffe_id
