"""How long an SVID lives: what was asked for against what the configuration and the grant allow.

The one place that decides it and knows whether a wish was shortened. The end of the issuers above is a fact,
not a decision: `draft.want` cuts NotAfter there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from meshca.errors import BadRequest

LONGEST_ASKED = timedelta(days=3650)  # ten years, as everywhere here: beyond it a request is a mistake
_LONGEST_ASKED_SECONDS = int(LONGEST_ASKED.total_seconds())
BACKDATE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The configured limits of an SVID's validity; their defaults are the configuration's.

    Attributes:
        default_lifetime: when the request asks for none; never longer than the maximum.
        max_lifetime: the longest one.
        refuse_longer: refuse a wish that is longer than the maximum instead of shortening it.
        backdate: how far NotBefore lies in the past, for clocks that run behind (istio PR #32176).
    """

    default_lifetime: timedelta
    max_lifetime: timedelta
    refuse_longer: bool
    backdate: timedelta = BACKDATE


def lifetime(profile: Profile, granted: timedelta, asked_seconds: int) -> tuple[timedelta, bool]:
    """The lifetime that a request gets, and whether it is shorter than what was asked for.

    Compared as an integer first, so that 2^63-1 cannot overflow.

    Args:
        profile: the configured limits.
        granted: the longest that admission grants; a longer wish is always shortened to it.
        asked_seconds: 0 when nothing was asked for.

    Raises:
        BadRequest: reason `duration`, for a negative one, one over ten years, or, if so configured, one
            over the configured maximum.
    """
    longest = min(profile.max_lifetime, granted)
    if asked_seconds == 0:
        return min(profile.default_lifetime, longest), False
    if not 0 < asked_seconds <= _LONGEST_ASKED_SECONDS:
        raise BadRequest(
            "duration",
            f"the validity duration must be 0 (the default) or 1 to {_LONGEST_ASKED_SECONDS} seconds (ten years)",
        )
    asked = timedelta(seconds=asked_seconds)
    if profile.refuse_longer and asked > profile.max_lifetime:
        maximum = int(profile.max_lifetime.total_seconds())
        raise BadRequest("duration", f"the validity duration must be at most {maximum} seconds")
    return min(asked, longest), asked > longest
