"""The few pieces of DER (X.690) that certificates are cut into and put together from.

Reads only what our own library wrote, or has parsed as a whole: it believes every length. An attacker's bytes must
never come here first.
"""

from __future__ import annotations

from datetime import UTC, datetime

INTEGER, BIT_STRING, OCTET_STRING = 0x02, 0x03, 0x04
UTC_TIME, GENERALIZED_TIME, SEQUENCE = 0x17, 0x18, 0x30
_FIRST_GENERALIZED_YEAR = 2050  # RFC 5280 section 4.1.2.5: UTCTime through 2049


def tlv(tag: int, *contents: bytes) -> bytes:
    """One element: tag, shortest form of the length, contents."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def integer(value: int) -> bytes:
    """A non-negative INTEGER, with a leading zero octet where the sign bit would be set."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def time(instant: datetime) -> bytes:
    """A Time as RFC 5280 section 4.1.2.5 wants it: to the second, UTCTime before 2050."""
    utc = instant.astimezone(UTC)
    if utc.year < _FIRST_GENERALIZED_YEAR:
        return tlv(UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").encode())


def content(element: bytes) -> bytes:
    """What one element holds."""
    start, end = _span(element, 0)
    return element[start:end]


def children(element: bytes) -> list[bytes]:
    """The elements, whole, that one constructed element holds."""
    inner = content(element)
    found = []
    at = 0
    while at < len(inner):
        _, end = _span(inner, at)
        found.append(inner[at:end])
        at = end
    return found


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at this offset begins and ends."""
    first = data[at + 1]
    if first < 0x80:
        return at + 2, at + 2 + first
    start = at + 2 + (first & 0x7F)
    return start, start + int.from_bytes(data[at + 2 : start], "big")
