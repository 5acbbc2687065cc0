"""What the certificate of a root says, for `meshca root list` and `show`: read from what is kept of it.

So it is told also of a root that was retired long ago, of which no status speaks any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshca.authority.history import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What a certificate says.

    Attributes:
        subject: RFC 4514.
        not_before, not_after: from when to when it is valid.
    """

    subject: str
    not_before: datetime
    not_after: datetime


def certificate_says(record: Record) -> Says:
    """What the certificate of a root or an intermediate says.

    Raises:
        ConfigError: what is kept of it is no certificate.
    """
    from meshca.authority.material import read_certificates

    certificate = read_certificates(record.pem.encode(), record.id)[0]
    return Says(
        subject=certificate.subject.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
