"""Paths: what Envoy makes of one before a policy sees it, and comparison that percent-encoding cannot pass by.

Envoy (normalize_path, merge_slashes, REJECT_REQUEST for escaped slashes; tried with 1.40) resolves `.`, `..`,
`//` and backslash, decodes escapes of unreserved characters, and answers 400 to `%2f`, `%5c`, `%00`, `#` and raw
non-ASCII. It leaves the escapes of other characters, in either case: `/v1/x:delete` and `/v1/x%3adelete` stay
two spellings of one path. So paths are compared decoded, and policies are written decoded.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from meshca.authz.pattern import Match, Pattern, compare

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")  # RFC 3986 section 2.3
_PLAIN = _UNRESERVED | {"/"}
_HEX = frozenset(string.hexdigits)


def matches(pattern: Pattern, path: str) -> bool:
    """Whether a path, as Envoy's filters see it, is one that the pattern means; the query is left out."""
    return compare(pattern.match, pattern.text.encode(), unquote_to_bytes(path.partition("?")[0]))


def fault_in_value(value: str) -> str:
    """Why no request could ever match this value of a policy; empty when one can.

    A DENY that can never match is a hole, so it is refused and not ignored.
    """
    return next((fault for broken, fault in _FAULTS if broken(value)), "")


def fault_in_request(path: str) -> str:
    """Why Envoy would not pass this spelling of a path to its filters; empty when it would."""
    bare = path.partition("?")[0]
    if not bare.startswith("/") or not (bare.isascii() and bare.isprintable()):
        return "a path begins with a slash and is printable ASCII"
    if re.search(r"(?i)%(2f|5c|00)|#", bare):
        return "Envoy answers 400 to an escaped slash, backslash or NUL and to a fragment; policies never see it"
    if "\\" in bare or "//" in bare or _dots(bare):
        return "Envoy resolves //, ., .. and backslash before policies; ask for the path that remains"
    escapes = re.findall(r"%([0-9a-fA-F]{2})", bare)
    if any(chr(int(escape, 16)) in _UNRESERVED for escape in escapes):
        return "Envoy decodes letters, digits and -._~ before policies; write them plainly"
    return ""


def plain(pattern: Pattern) -> bool:
    """Whether a pattern means one spelling only, so that the text can be compared as it is."""
    inside_an_escape = pattern.match is Match.SUFFIX and pattern.text[0] in _HEX
    return _PLAIN.issuperset(pattern.text) and not inside_an_escape


def expression(pattern: Pattern) -> str:
    """A regular expression (RE2, whole string) over Envoy's path without query: what `matches` means."""
    text = "".join(map(_spellings, pattern.text))
    match pattern.match:
        case Match.EXACT:
            return text
        case Match.PREFIX:
            return f"{text}.*"
        case Match.SUFFIX:
            return f"{_before(pattern.text)}{text}"
        case _:  # presence
            return ".+"


def _spellings(character: str) -> str:
    """A character and, when Envoy leaves it encoded, its escape in either case."""
    if character in _PLAIN:
        return re.escape(character)
    escape = "".join(f"%{_digit(byte >> 4)}{_digit(byte & 15)}" for byte in character.encode())
    return f"(?:{re.escape(character)}|{escape})" if character.isascii() else escape


def _digit(value: int) -> str:
    digit = f"{value:x}"
    return f"[{digit}{digit.upper()}]" if digit.isalpha() else digit


def _before(suffix: str) -> str:
    """What may stand before a suffix: anything, but the suffix must not begin inside an escape.

    `*ab` does not mean `/%ab`, nor `/x%0ab`: there `%ab` and `%0a` are one byte each.
    """
    if suffix[0] not in _HEX:
        return ".*"
    ends = ["", ".*[^%0-9a-fA-F]", "(?:.*[^%])?[0-9a-fA-F]"]
    if len(suffix) == 1 or suffix[1] not in _HEX:
        ends.append(".*%")
    return f"(?:{'|'.join(ends)})"


def _dots(value: str) -> bool:
    """Whether a complete segment is `.` or `..`; what a star touches is not complete."""
    return any(segment in {".", ".."} for segment in value.split("/"))


# What a policy's path may not have, and why; the first that applies is told.
_FAULTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda value: not value.isprintable(), "a path has printable characters only"),
    (
        lambda value: bool({"?", "#"} & set(value)),
        "paths are compared without query and fragment; remove ? or # on",
    ),
    (lambda value: "%" in value, "write the character itself; requests are compared after percent-decoding"),
    (lambda value: "\\" in value, "Envoy turns a backslash into a slash before policies; write /"),
    (lambda value: not value.startswith(("/", "*")), "a path begins with a slash"),
    (lambda value: "//" in value, "Envoy merges slashes before policies; write one"),
    (_dots, "Envoy resolves . and .. segments before policies; write the path without them"),
)
