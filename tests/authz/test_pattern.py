"""Values of a policy: exact, beginning, end, presence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authz.pattern import MAX_LENGTH, Match, Pattern, compare
from meshca.errors import BadRequest


@pytest.mark.parametrize(
    ("value", "matching", "other"),
    [
        pytest.param("abc", "abc", "abcd", id="exact"),
        pytest.param("abc", "abc", "ABC", id="case-sensitive"),
        pytest.param("abc*", "abc", "xabc", id="prefix-includes-itself"),
        pytest.param("abc*", "abcd", "ab", id="prefix"),
        pytest.param("*abc", "abc", "abcx", id="suffix-includes-itself"),
        pytest.param("*abc", "xabc", "bc", id="suffix"),
        pytest.param("*", "x", "", id="presence-wants-something"),
        pytest.param("a.c", "a.c", "abc", id="a-dot-is-a-dot"),
    ],
)
def test_matches(value: str, matching: str, other: str) -> None:
    """Each form matches what it says and nothing else."""
    pattern = Pattern.parse(value)
    assert (pattern.matches(matching), pattern.matches(other)) == (True, False)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param("", "an empty value", id="empty"),
        pytest.param("*a*", "a star may only", id="both-ends"),
        pytest.param("a*b", "a star may only", id="inside"),
        pytest.param("**", "a star may only", id="two-stars"),
        pytest.param("/{*}", "not supported yet", id="template"),
        pytest.param("x" * (MAX_LENGTH + 1), "at most 1024", id="long"),
    ],
)
def test_refuses(value: str, problem: str) -> None:
    """A value that reads one way and would match another is refused."""
    with pytest.raises(BadRequest) as caught:
        Pattern.parse(value)
    assert problem in caught.value.detail


@given(st.text(min_size=1))
def test_round_trip(value: str) -> None:
    """What is read prints as it was written; anything else is refused."""
    try:
        pattern = Pattern.parse(value)
    except BadRequest:
        return
    assert str(pattern) == value


@given(st.sampled_from(Match), st.text(), st.text())
def test_bytes_compare_as_text(match: Match, text: str, value: str) -> None:
    """Comparing UTF-8 bytes and comparing characters is the same."""
    try:
        expected = compare(match, text, value)
        assert compare(match, text.encode(), value.encode()) == expected
    except UnicodeEncodeError:
        return
