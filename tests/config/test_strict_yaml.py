"""The one YAML reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.config.strict_yaml import MAX_BYTES, load, load_all
from meshca.errors import ConfigError


def test_reads_plain_yaml() -> None:
    """Mappings, sequences and scalars are read as PyYAML's safe loader reads them."""
    assert load("a: 1\nb: {c: [x, true]}\n", "f") == {"a": 1, "b": {"c": ["x", True]}}


def test_empty_is_none() -> None:
    """An empty file has no document."""
    assert load("# nothing\n", "f") is None


def test_many_documents() -> None:
    """Documents come in order, empty ones left out."""
    assert load_all("a: 1\n---\n---\nb: 2\n", "f") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: 1\na: 2", "line 2, column 1: duplicate key 'a'", id="duplicate-key"),
        pytest.param("a: &x 1\nb: *x", "line 2, column 4: aliases are not accepted", id="alias"),
        pytest.param("1: a", "line 1, column 1: keys must be strings", id="number-as-key"),
        pytest.param("? [a]\n: b", "line 1, column 3: keys must be strings", id="list-as-key"),
        pytest.param("a: [", "line 2, column 1: did not find expected node content", id="broken"),
        pytest.param("[" * 100_000, "line 1, column 51: nested over 50 levels deep", id="deep"),
        pytest.param("\0", "the file must be printable YAML text", id="nul"),
        pytest.param("a: 1\n---\nb: 2", "expected one YAML document, found 2; split the file", id="two-documents"),
        pytest.param("a" * (MAX_BYTES + 1), f"the file must be at most {MAX_BYTES} bytes", id="large"),
        pytest.param(
            "a: 2026-13-45",
            "the file has a value that YAML cannot express, such as an impossible date",
            id="impossible-date",
        ),
    ],
)
def test_refuses(text: str, problem: str) -> None:
    """Each refusal names the place and the fault."""
    with pytest.raises(ConfigError) as caught:
        load(text, "f")
    assert caught.value.problems == (problem,)


def test_refuses_tags() -> None:
    """A tag that would build an object is refused."""
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        load("!!python/object/apply:os.system ['x']", "f")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text escapes as anything but a value or a ConfigError."""
    try:
        load_all(text, "f")
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - both ends are allowed
