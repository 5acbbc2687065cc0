"""Private keys, tokens and passwords as a type that cannot print itself.

Whoever needs the value calls `reveal()`, which is easy to search for. A `Secret` must never be
compared with anything but another `Secret`, and never in variable time.
"""

from __future__ import annotations

import hmac
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T", str, bytes)


class Secret(Generic[T]):
    """A value whose repr, str and format are `***`, and which refuses to be pickled."""

    __slots__ = ("_value",)
    _value: T

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself; the caller must not log or store it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self._value), _encoded(other._value))

    def __hash__(self) -> int:
        return hash(_encoded(self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def _encoded(value: str | bytes) -> bytes:
    # surrogatepass: a secret read from the environment may hold undecodable bytes, and must still compare
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value
