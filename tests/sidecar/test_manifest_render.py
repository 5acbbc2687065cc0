"""Values as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshca.sidecar import manifest_render as render
from tests.sidecar.manifests import OTHERS

VALUE: dict[str, Any] = {"a": [1, {"b": "x y"}], "t": "one\ntwo\n"}


@given(OTHERS, st.integers(0, 4))
def test_entries_and_items_read_back(value: Any, columns: int) -> None:
    """At any column."""
    space = " " * columns
    assert yaml.safe_load(f"{space}first: 1\n" + render.entry("key", value, columns))["key"] == value
    assert yaml.safe_load(f"{space}- 1\n" + render.item(value, columns)) == [1, value]


@given(OTHERS)
def test_brackets_read_back(value: Any) -> None:
    """As JSON, on one line."""
    text = render.in_brackets(value)
    assert (json.loads(text), "\n" in text) == (value, False)


def test_texts_of_several_lines_stay_readable() -> None:
    """As blocks."""
    assert render.in_lines(VALUE) == "a:\n- 1\n- b: x y\nt: |\n  one\n  two\n"


def test_one_value_is_one_line_in_a_manifest() -> None:
    """However long."""
    assert render.entry("k", "word " * 100 + "end", 2).count("\n") == 1


def test_no_aliases() -> None:
    """The same thing twice is written twice."""
    assert render.in_lines({"a": VALUE["a"], "b": VALUE["a"]}).count("x y") == 2


@pytest.mark.parametrize(("lines", "moved"), [("a\n\nb\n", "  a\n\n  b\n"), ("", "")])
def test_empty_lines_stay_empty(lines: str, moved: str) -> None:
    """Nothing stands at the end of a line that nobody sees."""
    assert render.indented(lines, 2) == moved
