"""The port of an upstream: whoever signs our signing certificate.

An upstream reads or makes; it never decides what is in force. `rotation` proves what it offers and keeps the
last good material when an offer is bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshca.authority.material import SigningMaterial


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Signing material, and when to ask for other.

    Attributes:
        material: read, but not proven.
        renew_at: when to ask again although nothing changed; None when only a change gives other material.
    """

    material: SigningMaterial
    renew_at: datetime | None


class Upstream(Protocol):
    """Gives signing material."""

    async def obtain(self) -> Offer:
        """The material that shall sign now: the same as before while it is good, otherwise new.

        Raises:
            ConfigError: what the operator gave cannot be used; every problem at once.
            Unavailable: it cannot be had now; asking again may help.
        """
        ...

    async def changed(self) -> None:
        """Return when the source has changed since the last `obtain`, even if that one failed.

        An upstream whose source does not change by itself never returns.
        """
        ...
