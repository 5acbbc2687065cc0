"""When a certificate is valid, decided once: from NotBefore to NotAfter, both included (RFC 5280 section 4.1.2.5).

No leeway: NotBefore is set back when a certificate is made. Who issues needs more than validity, because what
begins now under an issuer of no further life would end as it begins: see `spent`.
"""

from __future__ import annotations

from datetime import datetime


def valid_at(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether a certificate may be shown and believed at this instant."""
    return begun(not_before, now) and not ended(not_after, now)


def begun(not_before: datetime, now: datetime) -> bool:
    """Whether the validity has begun; a clock that was ahead once leaves certificates that begin later."""
    return not_before <= now


def ended(not_after: datetime, now: datetime) -> bool:
    """Whether the validity is over; the instant of NotAfter itself still belongs to it."""
    return now > not_after


def spent(not_after: datetime, now: datetime) -> bool:
    """Whether no life is left to give to a certificate below it; so at NotAfter, though still valid then."""
    return now >= not_after
