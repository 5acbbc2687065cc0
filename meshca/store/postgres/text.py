"""Text as PostgreSQL can keep it: it knows every character but NUL, and names that a caller chose may hold one.

Such a text would fail the whole group that it is written with. It is kept in another spelling and read back as it
was; `read(kept(x)) == x` for every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_NUL: Final = "\0"
_ESCAPE: Final = "\x1a"  # SUBSTITUTE: what ASCII has for characters that cannot be shown
_NUL_KEPT: Final = _ESCAPE + "0"
_ESCAPE_KEPT: Final = _ESCAPE + "1"


def kept(value: Any) -> Any:  # noqa: ANN401 - a column of any type
    """A column's value in the spelling that is kept."""
    if not isinstance(value, str) or (_NUL not in value and _ESCAPE not in value):
        return value
    return value.replace(_ESCAPE, _ESCAPE_KEPT).replace(_NUL, _NUL_KEPT)


def read(value: Any) -> Any:  # noqa: ANN401 - a column of any type
    """The value as it was given."""
    if not isinstance(value, str) or _ESCAPE not in value:
        return value
    return value.replace(_NUL_KEPT, _NUL).replace(_ESCAPE_KEPT, _ESCAPE)


def kept_row(row: Sequence[Any]) -> tuple[Any, ...]:
    """Every column as it is kept."""
    return tuple(map(kept, row))


def read_row(row: Sequence[Any]) -> tuple[Any, ...]:
    """Every column as it was given."""
    return tuple(map(read, row))
