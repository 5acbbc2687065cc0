"""Strict reading of untyped fields."""

from __future__ import annotations

import pytest

from meshca.authz.fields import MAX_ITEMS, Place, Problems, Shape, items, mapping, text
from meshca.errors import BadRequest

SHAPE = Shape(known=frozenset({"paths", "methods"}), later=frozenset({"hosts"}))
HERE = Place("f.yaml", "spec")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param([], "f.yaml: spec: expected a mapping with methods, paths", id="list"),
        pytest.param(None, "f.yaml: spec: expected a mapping with methods, paths", id="nothing"),
        pytest.param({"hosts": ["a"]}, "f.yaml: spec.hosts: not supported yet", id="later"),
        pytest.param({"path": ["a"]}, "f.yaml: spec.path: unknown field; did you mean paths?", id="near"),
        pytest.param({"xyz": 1}, "f.yaml: spec.xyz: unknown field; known are methods, paths", id="unknown"),
        pytest.param({"paths": None}, "f.yaml: spec.paths: has no value; give one, or remove the key", id="empty"),
        pytest.param(
            {"\x1b[31m": 1}, r"f.yaml: spec.'\x1b[31m': unknown field; known are methods, paths", id="escape"
        ),
    ],
)
def test_mapping_refuses(value: object, problem: str) -> None:
    """Each fault is one problem with its place, and the field is left out."""
    problems = Problems()
    assert mapping(value, SHAPE, HERE, problems) == {}
    assert problems.found == [problem]


def test_mapping_keeps_the_known() -> None:
    """Fields that are understood are kept beside refused ones."""
    problems = Problems()
    assert mapping({"paths": ["/a"], "hosts": []}, SHAPE, HERE, problems) == {"paths": ["/a"]}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param("x", "expected a list", id="text"),
        pytest.param([], "an empty list matches nothing; remove the key, or give a value", id="empty"),
        pytest.param([1] * (MAX_ITEMS + 1), "at most 512 items; split the policy", id="long"),
    ],
)
def test_items_refuses(value: object, problem: str) -> None:
    """Lists have between one item and the limit."""
    problems = Problems()
    assert not items(value, HERE, problems)
    assert problems.found == [f"f.yaml: spec: {problem}"]


def test_items_may_be_empty() -> None:
    """Where an empty list has a meaning it is accepted."""
    problems = Problems()
    assert (list(items([], HERE, problems, may_be_empty=True)), problems.found) == ([], [])


@pytest.mark.parametrize("value", [1, True, None, ["a"], {"a": "b"}])
def test_text_is_text(value: object) -> None:
    """What YAML reads as something else than a string is refused, not converted."""
    problems = Problems()
    assert not text(value, HERE, problems)
    assert problems.found == ["f.yaml: spec: expected a string; put the value in quotes"]


def test_noting_goes_on() -> None:
    """A refused value is a problem at its place, and reading goes on."""
    problems = Problems()

    def refuse() -> None:
        raise BadRequest("pattern", "no")

    with problems.noting(HERE.at("rules").at(0)):
        refuse()
    assert problems.found == ["f.yaml: spec.rules[0]: no"]


def test_place_of_a_document() -> None:
    """Keys of the top level stand right after the file."""
    assert str(Place("f.yaml").at("kind")) == "f.yaml: kind"
