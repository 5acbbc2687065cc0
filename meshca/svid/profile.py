"""How long an SVID may live: what was asked for against what the configuration allows.

Says nothing about the grant and the issuers above, which only shorten (see `svid.draft`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from meshca.errors import BadRequest

LONGEST_ASKED = timedelta(days=3650)  # ten years, as everywhere here: beyond it a request is a mistake
_LONGEST_ASKED_SECONDS = int(LONGEST_ASKED.total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The configured limits of an SVID's validity.

    Attributes:
        default_lifetime: when the request asks for none; never longer than the maximum (Istio: 24 h).
        max_lifetime: the longest one (Istio: 90 days).
        refuse_longer: refuse a longer wish instead of shortening it.
        backdate: how far NotBefore lies in the past, for clocks that run behind (istio PR #32176).
    """

    default_lifetime: timedelta = timedelta(hours=24)
    max_lifetime: timedelta = timedelta(days=90)
    refuse_longer: bool = False
    backdate: timedelta = timedelta(minutes=2)


def lifetime(profile: Profile, asked_seconds: int) -> tuple[timedelta, bool]:
    """The lifetime that a request gets, and whether it is shorter than what was asked for.

    0 means that nothing was asked for. Compared as an integer first, so that 2^63-1 cannot overflow.

    Raises:
        BadRequest: reason `duration`, for a negative one, one over ten years, or, if so configured, one
            over the maximum.
    """
    if asked_seconds == 0:
        return min(profile.default_lifetime, profile.max_lifetime), False
    if not 0 < asked_seconds <= _LONGEST_ASKED_SECONDS:
        raise BadRequest(
            "duration",
            f"the validity duration must be 0 (the default) or 1 to {_LONGEST_ASKED_SECONDS} seconds (ten years)",
        )
    asked = timedelta(seconds=asked_seconds)
    if asked <= profile.max_lifetime:
        return asked, False
    if profile.refuse_longer:
        longest = int(profile.max_lifetime.total_seconds())
        raise BadRequest("duration", f"the validity duration must be at most {longest} seconds")
    return profile.max_lifetime, True
