"""What a certificate about to be made must say, names apart; the lint holds the made one against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from meshca import csr
from meshca.svid.issuer import Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The facts of one leaf that vary; everything else is the profile's.

    Attributes:
        key: the subject's public key.
        issuer: who will sign.
        serial: positive, at most 20 octets (RFC 5280 section 4.1.2.2).
        not_before: in UTC, to the second.
        not_after: in UTC, to the second; already the smallest of what was asked, granted and possible.
    """

    key: csr.ProvenKey
    issuer: Issuer = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
