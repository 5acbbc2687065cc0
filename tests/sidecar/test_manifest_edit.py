"""Text that says something new, and is otherwise what it was."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshca.sidecar.manifest_edit import rewrite, same
from meshca.sidecar.manifest_layout import NotEditable
from meshca.sidecar.manifest_text import parse
from tests.sidecar.manifests import OTHERS


def edited(text: str, *changes: tuple[tuple[str | int, ...], Any]) -> str:
    """The text with values at some paths of its first document changed."""
    documents = parse(text, "")
    value = json.loads(json.dumps(documents[0].value))  # a copy that shares nothing
    for path, new in changes:
        place = value
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = new
    return rewrite(text, documents, {0: value})


_SOME = st.one_of(OTHERS, st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), OTHERS), min_size=1))


@given(old=_SOME, new=_SOME, flow=st.sampled_from([None, False, True]), more=st.booleans())
def test_any_document_can_become_any_other(old: Any, new: Any, flow: Any, *, more: bool) -> None:
    """In lines, in brackets and mixed; a second document stays byte for byte."""
    text = (
        yaml.safe_dump(old, default_flow_style=flow, sort_keys=False, allow_unicode=True) + "---\n# é\n- 'x'  #\n"
    )
    wanted = old | new if more else new
    out = rewrite(text, parse(text, ""), {0: wanted})
    assert same(parse(out, "")[0].value, wanted)
    assert out.endswith("---\n# é\n- 'x'  #\n")


@given(OTHERS)
def test_no_change_is_no_change(value: Any) -> None:
    """Not a byte."""
    text = yaml.safe_dump(value, allow_unicode=True)
    assert rewrite(text, parse(text, ""), {0: copy.deepcopy(value)}) == text


@pytest.mark.parametrize(
    ("text", "path", "new", "out"),
    [
        pytest.param("a:   1  # c\nb: 2\n", ("a",), 3, "a: 3  # c\nb: 2\n", id="scalar"),
        pytest.param("a: \"x\"\nb: 'y'\n", ("a",), "z", "a: z\nb: 'y'\n", id="quotes-of-others"),
        pytest.param("a:  # c\nb: 2\n", ("a",), 3, "a: 3  # c\nb: 2\n", id="null"),
        pytest.param(
            "a: {}  # c\nb: 2\n", ("a",), {"x": [1]}, "a:  # c\n  x:\n  - 1\nb: 2\n", id="empty-to-lines"
        ),
        pytest.param("a: 1 # c\n", ("a",), "l\nm\n", "a: | # c\n  l\n  m\n", id="text"),
        pytest.param("a: |\n  l\n\nb: 1\n", ("a",), 1, "a: 1\nb: 1\n", id="no-text"),
        pytest.param(
            "a:\n  x: 1 # x\n# c\nb: 1\n", ("a", "y"), 2, "a:\n  x: 1 # x\n  y: 2\n# c\nb: 1\n", id="key"
        ),
        pytest.param("a: 1", ("b",), 2, "a: 1\nb: 2\n", id="no-newline-at-the-end"),
        pytest.param("a: {x: 1} # c\n", ("a", "y"), [2], 'a: {x: 1, "y": [2]} # c\n', id="brackets"),
        pytest.param("a: [1, 2]\n", ("a",), [1, 3, 2], "a: [1, 3, 2]\n", id="list-in-brackets"),
        pytest.param("a: [1, 2]\n", ("a",), [2], "a: [2]\n", id="shorter-list-in-brackets"),
        pytest.param("a:\r\n- 1\r\n", ("a",), [1, 2], "a:\r\n- 1\r\n- 2\r\n", id="carriage-returns"),
        pytest.param(
            "a:\n  - 1\n  # c\n  - 2\n", ("a",), [1, 9, 2], "a:\n  - 1\n  - 9\n  # c\n  - 2\n", id="item"
        ),
        pytest.param("a:\n# c\n- 1\n", ("a",), [0, 1], "a:\n- 0\n# c\n- 1\n", id="first-item"),
        pytest.param("-\n  name: n\n", (0, "y"), 2, "-\n  name: n\n  y: 2\n", id="dash-alone"),
        pytest.param("- - 1\n  - 2\n- 3\n", (0, 0), 7, "- - 7\n  - 2\n- 3\n", id="list-in-list"),
        pytest.param("? a\n: 1\n", ("a",), 7, "? a\n: 7\n", id="question-mark"),
        pytest.param(
            "a:\n- |\n # l\n- 2\n", ("a",), ["# l\n", 0, 2], "a:\n- |\n # l\n- 0\n- 2\n", id="no-comment"
        ),
    ],
)
def test_one_place(text: str, path: tuple[str | int, ...], new: Any, out: str) -> None:
    """Comments, quotes and layout around it stay."""
    assert edited(text, (path, new)) == out


def test_keys_come_where_they_are_put() -> None:
    """Above the next key and its comments."""
    text = "a: 1\n# about b\nb: 2\n"
    assert rewrite(text, parse(text, ""), {0: {"a": 1, "x": 0, "b": 2}}) == "a: 1\nx: 0\n# about b\nb: 2\n"


@pytest.mark.parametrize(
    ("new", "out"),
    [
        ([{"name": "n", "w": 2}], "- name: n  # n\n  w: 2\n"),
        ([{"u": 0, "v": 1, "name": "n", "w": 2}], "- u: 0\n  v: 1\n  name: n  # n\n  w: 2\n"),
        ([{"x": 1, "name": "n"}], "- x: 1\n  name: n  # n\n"),
    ],
)
def test_the_first_key_of_an_item(new: Any, out: str) -> None:
    """Stands behind a dash, which stays."""
    text = "- v: 1\n  name: n  # n\n  w: 2\n"
    assert rewrite(text, parse(text, ""), {0: new}) == out


def test_beside_a_merge() -> None:
    """Keys are added; what is merged stays merged."""
    text = "x: &x {a: 1}\nb:\n  <<: *x # c\n"
    assert edited(text, (("b", "d"), 2)) == text + "  d: 2\n"


def test_things_without_names_are_paired() -> None:
    """As the objects of a List are; each is changed where it stands."""
    text = "- a: {v: 1} # a\n  w: 'x'\n- b: [1]  # b\n- 7\n"
    out = "- a: {v: 2} # a\n  w: 'x'\n- b: [1, 2]  # b\n- 8\n"
    assert rewrite(text, parse(text, ""), {0: [{"a": {"v": 2}, "w": "x"}, {"b": [1, 2]}, 8]}) == out


def test_named_things_are_compared_by_name() -> None:
    """One is changed, one goes, one comes."""
    text = "- name: a  # first\n  v: 1\n- {name: b}\n# c\n- name: c\n"
    new = [{"name": "a", "v": 2}, {"name": "c"}, {"name": "d"}]
    out = "- name: a  # first\n  v: 2\n# c\n- name: c\n- name: d\n"
    assert rewrite(text, parse(text, ""), {0: new}) == out


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        pytest.param("x: &x {a: 1}\na: *x\n", ("a", "a"), "is an alias", id="alias"),
        pytest.param("a: &x {a: 1}\nb: *x\n", ("a", "a"), "cannot be changed in place", id="anchor"),
        pytest.param("x: &x {a: 1}\nb: 1\n<<: *x\n", ("a",), "has keys from a merge", id="merge"),
        pytest.param("a: {b}\n", ("a", "b"), "has a key without a value", id="key-in-brackets"),
        pytest.param("a: &x\n- 1\nb: 2\n", ("a", 0), "does not begin on a line of its own", id="anchored-list"),
        pytest.param("a: |\n  # l", ("b",), "end the file with a newline", id="unended-text"),
    ],
)
def test_refusals(text: str, path: tuple[str | int, ...], problem: str) -> None:
    """What cannot be changed where it stands is told, never written wrongly."""
    with pytest.raises(NotEditable) as caught:
        edited(text, (path, 7))
    assert problem in caught.value.problem
    assert 1 <= caught.value.line <= text.count("\n") + 1


def test_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that broke the document would be refused."""
    monkeypatch.setattr("meshca.sidecar.manifest_render.entry", lambda *_: "k: [\n")
    with pytest.raises(NotEditable, match="cannot be changed in place"):
        edited("a: 1\n", (("b",), 2))


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), ("1", 1), ([1], [True]), ({"a": 0}, {"a": False})]
)
def test_kinds_differ(one: Any, other: Any) -> None:
    """What Python takes for equal is not the same to Kubernetes."""
    assert not same(one, other)


def test_not_a_number_is_itself() -> None:
    """Otherwise a document that holds it could never be read back."""
    assert same(float("nan"), float("nan"))
