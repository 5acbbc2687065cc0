"""Values as YAML text, in lines or in brackets; one spelling for all that we write into manifests."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

_COLUMNS: Final = 110  # a longer line is one long word
_UNBOUND: Final = 1_000_000  # columns: in a manifest one value is one line


class _Plain(yaml.CSafeDumper):
    """YAML without aliases, every place written out, and texts of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: _Plain, value: str) -> yaml.ScalarNode:
    style = None
    if "\n" in value:  # lines that need no indicators, or else an escape for each line break
        style = "|" if _is_plain(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _is_plain(value: str) -> bool:
    """Whether a text begins with a letter and ends with one line break."""
    return value.endswith("\n") and not value[0].isspace() and not value[:-1][-1:].isspace()


_Plain.add_representer(str, _text)


def in_lines(value: object, columns: int = _COLUMNS) -> str:
    """A mapping or sequence as lines, the last one ended."""
    written: str = yaml.dump(value, Dumper=_Plain, sort_keys=False, width=columns, allow_unicode=True)
    return written


def in_brackets(value: object) -> str:
    """A value on one line, as JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False)


def indented(lines: str, columns: int) -> str:
    """Lines moved to the right; empty ones stay empty."""
    space = " " * columns
    return "\n".join(space + line if line else "" for line in lines.split("\n"))


def entry(key: str, value: Any, columns: int) -> str:  # noqa: ANN401 - whatever a manifest holds
    """A key and its value as lines that begin at a column."""
    return indented(in_lines({key: value}, _UNBOUND), columns)


def item(value: Any, columns: int) -> str:  # noqa: ANN401 - whatever a manifest holds
    """An item of a sequence whose dashes stand at a column."""
    return indented(in_lines([value], _UNBOUND), columns)
