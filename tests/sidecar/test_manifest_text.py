"""YAML as nodes that know their place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshca.errors import ConfigError
from meshca.sidecar import manifest_text
from meshca.sidecar.manifest_text import Node, parse
from tests.sidecar.manifests import OTHERS


def only(text: str) -> Node:
    """The node of the one document."""
    [node] = parse(text, "a.yaml")
    return node


@given(OTHERS, st.sampled_from([None, False, True]))
def test_values_are_what_a_loader_gives(value: Any, flow: Any) -> None:
    """Whatever the notation."""
    assert only(yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2020-01-01", "2020-01-01"),
        ("a: yes", True),
        ("a: 0x10", 16),
        ("a: 1.5", 1.5),
        ("a: ~", None),
        ("a:", None),
        ("a: '1'", "1"),
        ("a: !!str 1", "1"),
        ("a: !ours 1", "1"),
        ("a: =", "="),
        ("a: &x 1\nb: *x", 1),
        ("b: &x {a: 1, c: 2}\n<<: *x", 1),
        ("b: &x {a: 1}\n<<: [{a: 2}, *x]", 2),
        ("<<: {a: 1}\na: 2", 2),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    """As Kubernetes reads them: a date is text, and merged keys count."""
    assert only(text).value["a"] == value


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a",), "{x: [1, 2]}"),
        (("a", "x", 1), "2"),
        (("b", 0), "one: 1\n  two: |\n   long\n"),
        (("b", 0, "one"), "1"),
        (("b", 1), "'q'"),
        (("c",), ""),
    ],
)
def test_places(path: tuple[str | int, ...], text: str) -> None:
    """Each node begins and ends where its text does."""
    whole = "# é 𝄞\na: {x: [1, 2]}   # comment\nb:\n- one: 1\n  two: |\n   long\n- 'q'\nc:\n"
    node = only(whole)
    for step in path:
        found = node.child(step)
        assert found is not None
        node = found[1]
    assert whole[node.start : node.end] == text


@pytest.mark.parametrize(
    ("path", "line"),
    [(("a", "x"), 3), (("a", "none", "x"), 2), (("b", 7), 4), (("none",), 2), (("a", "x", "y"), 3), ((), 2)],
)
def test_the_nearest_place(path: tuple[str | int, ...], line: int) -> None:
    """What is missing is looked for where it would be."""
    assert only("# first\na:\n  x: 1\nb: [1]\n").line_of(*path) == line


def test_documents() -> None:
    """Empty ones count, so that numbers are those that a reader counts."""
    assert [node.value for node in parse("a: 1\n---\n# nothing\n---\n- 2\n...\n", "")] == [{"a": 1}, None, [2]]


def test_nothing() -> None:
    """A text without a document."""
    assert parse("# only a comment\n", "") == []


def test_doubled_keys_are_remembered() -> None:
    """With their lines; the last one counts."""
    node = only("a:\n- b: 1\n  b: 2\n")
    assert (node.doubled, node.value) == ([3], {"a": [{"b": 2}]})


def bomb() -> str:
    """A small text that unfolds to a hundred million values."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(["l0: &l0 [x]", *levels])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: [", "line 2, column 1: did not find expected node content", id="syntax"),
        pytest.param("a: *b", "line 1: an alias without an anchor before it", id="alias"),
        pytest.param("a: &b [*b]", "line 1: an alias without an anchor before it", id="itself"),
        pytest.param("a: &b 1\n---\na: *b", "line 3: an alias without an anchor before it", id="other-document"),
        pytest.param("\n" + "[" * 101 + "]" * 101, "line 2: nested over 100 levels deep", id="deep"),
        pytest.param(bomb(), "line 7: unfolds to over 1000000 values", id="bomb"),
        pytest.param("? [a]\n: 1", "line 1: keys must be plain values", id="key"),
        pytest.param("\na: !!int x", "line 2: a value that does not fit its tag", id="tag"),
        pytest.param("a: \x00", "the file must be printable YAML text", id="unprintable"),
    ],
)
def test_refusals(text: str, problem: str) -> None:
    """Each names its line."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.yaml")
    assert (caught.value.source, caught.value.problems) == ("a.yaml", (problem,))


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than any release has."""
    monkeypatch.setattr(manifest_text, "LARGEST", 3)
    with pytest.raises(ConfigError, match="must be at most"):
        parse("a: 1", "a.yaml")
