"""Reads untyped YAML fields strictly, and collects every problem with its place instead of stopping.

A field that Istio knows and we do not yet is "not supported yet"; any other is "unknown". Neither is ever
ignored: a policy that is half understood is a hole.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from meshca.errors import BadRequest

MAX_ITEMS = 512  # rules of a policy, sources of a rule: Istio's limits; values of a field: ours


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, a document in it, and the path of a field."""

    file: str
    path: str = ""

    def at(self, key: str | int) -> Place:
        """The place of a key of this mapping or an item of this list."""
        if isinstance(key, int):
            return Place(self.file, f"{self.path}[{key}]")
        return Place(self.file, f"{self.path}.{key}" if self.path else key)

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file


@dataclass(slots=True)
class Problems:
    """Every problem found so far."""

    found: list[str] = field(default_factory=list)

    def add(self, place: Place, problem: str) -> None:
        """Note a problem at a place."""
        self.found.append(f"{place}: {problem}")

    @contextmanager
    def noting(self, place: Place) -> Iterator[None]:
        """Note the refusal of a value, and go on with the next."""
        try:
            yield
        except BadRequest as error:
            self.add(place, error.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The fields that a mapping may have: ours, and those of Istio that we do not support yet."""

    known: frozenset[str]
    later: frozenset[str] = frozenset()


def mapping(value: object, shape: Shape, place: Place, problems: Problems) -> Mapping[str, object]:
    """A mapping with known fields; what is not one of them, or is empty (`key:`), is a problem and left out."""
    if not isinstance(value, dict):
        problems.add(place, f"expected a mapping with {_names(shape.known)}")
        return {}
    kept: dict[str, object] = {}
    for key, item in value.items():
        if key in shape.later:
            problems.add(place.at(key), "not supported yet")
        elif key not in shape.known:
            problems.add(place.at(_shown(key)), f"unknown field{_hint(key, shape)}")
        elif item is None:
            problems.add(place.at(key), "has no value; give one, or remove the key")
        else:
            kept[key] = item
    return kept


def items(value: object, place: Place, problems: Problems, *, may_be_empty: bool = False) -> Sequence[object]:
    """A list within the limit; empty lists are a problem unless allowed."""
    if not isinstance(value, list):
        problems.add(place, "expected a list")
        return ()
    if not value and not may_be_empty:
        problems.add(place, "an empty list matches nothing; remove the key, or give a value")
    if len(value) > MAX_ITEMS:
        problems.add(place, f"at most {MAX_ITEMS} items; split the policy")
        return ()
    return value


def text(value: object, place: Place, problems: Problems) -> str:
    """A string; what YAML reads as a number, a truth value or a date must be quoted. Empty after a problem."""
    if isinstance(value, str):
        return value
    problems.add(place, "expected a string; put the value in quotes")
    return ""


def _hint(key: str, shape: Shape) -> str:
    close = difflib.get_close_matches(key, shape.known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {_names(shape.known)}"


def _names(known: frozenset[str]) -> str:
    return ", ".join(sorted(known))


def _shown(key: str) -> str:
    """A key that a stranger chose, short and printable enough for a terminal."""
    return key[:64] if key[:64].isprintable() else repr(key[:64])
