"""Paths: what can be written in a policy, what Envoy shows its filters, and comparison of spellings."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given

from meshca.authz.path import expression, fault_in_request, fault_in_value, matches, plain
from meshca.authz.pattern import Pattern
from tests.authz.strategies import PATHS, spelled_paths


@pytest.mark.parametrize(
    "value", ["/", "/admin", "/admin/*", "*.json", "*", "/v1/x:delete", "/é", "/a..b", "/.well-known/*"]
)
def test_accepts_values_that_can_match(value: str) -> None:
    """Paths as people write them are fine."""
    assert not fault_in_value(value)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        pytest.param("admin", "begins with a slash", id="no-slash"),
        pytest.param("/a\nb", "printable", id="newline"),
        pytest.param("/a?b=c", "without query", id="query"),
        pytest.param("/a#b", "without query and fragment", id="fragment"),
        pytest.param("/%61dmin", "write the character itself", id="escape"),
        pytest.param("/a\\b", "backslash", id="backslash"),
        pytest.param("//admin", "merges slashes", id="double-slash"),
        pytest.param("/x/../admin", "resolves", id="dots-inside"),
        pytest.param("/x/.", "resolves", id="dot-at-end"),
        pytest.param("*/..", "resolves", id="dots-at-end-of-suffix"),
    ],
)
def test_refuses_values_that_never_match(value: str, fault: str) -> None:
    """Each spelling that normalisation removes is refused with what to write instead."""
    assert fault in fault_in_value(value)


@pytest.mark.parametrize(
    "path", ["/", "/admin?x=//y#", "/a%40b", "/a%zz", "/a%", "/v1/x:delete", "/%C3%A9", "/a..b", "/a/.b"]
)
def test_spellings_that_remain(path: str) -> None:
    """What normalisation leaves alone is a path that a filter can see."""
    assert not fault_in_request(path.replace("#", ""))


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        pytest.param("admin", "begins with a slash", id="no-slash"),
        pytest.param("/é", "ASCII", id="raw-non-ascii"),
        pytest.param("/%2fadmin", "400", id="escaped-slash"),
        pytest.param("/%2Fadmin", "400", id="escaped-slash-upper"),
        pytest.param("/%5cadmin", "400", id="escaped-backslash"),
        pytest.param("/a%00b", "400", id="nul"),
        pytest.param("/a#b", "400", id="fragment"),
        pytest.param("/a\\b", "resolves", id="backslash"),
        pytest.param("//admin", "resolves", id="double-slash"),
        pytest.param("/x/../admin", "resolves", id="dots"),
        pytest.param("/%61dmin", "decodes", id="escaped-letter"),
    ],
)
def test_spellings_that_no_filter_sees(path: str, fault: str) -> None:
    """What Envoy normalises or refuses never reaches a policy, and asking about it says so."""
    assert fault in fault_in_request(path)


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        pytest.param("/admin", "/admin", True, id="exact"),
        pytest.param("/admin", "/admin?x=1", True, id="query-left-out"),
        pytest.param("/admin", "/admin/", False, id="trailing-slash-differs"),
        pytest.param("/admin", "/admin;a=b", False, id="parameters-are-part-of-the-path"),
        pytest.param("/admin", "/Admin", False, id="case-sensitive"),
        pytest.param("*.json", "/x?y=.json", False, id="suffix-is-not-in-the-query"),
        pytest.param("/v1/x:delete", "/v1/x%3Adelete", True, id="escaped-reserved"),
        pytest.param("/v1/x:delete", "/v1/x%3adelete", True, id="escaped-reserved-lower"),
        pytest.param("*:delete", "/v1/x%3Adelete", True, id="escaped-suffix"),
        pytest.param("/é*", "/%C3%a9t", True, id="utf-8"),
        pytest.param("*ab", "/%ab", False, id="suffix-inside-an-escape"),
        pytest.param("*ab", "/%0ab", False, id="suffix-half-inside-an-escape"),
        pytest.param("*ab", "/x0ab", True, id="suffix-after-a-digit"),
        pytest.param("*a", "/%a", True, id="suffix-after-a-broken-escape"),
        pytest.param("*", "/", True, id="presence"),
    ],
)
def test_comparison(value: str, path: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Spellings of one path are one path, and Envoy's expression agrees."""
    pattern = Pattern.parse(value)
    by_envoy = re.fullmatch(expression(pattern), path.partition("?")[0]) is not None
    assert (matches(pattern, path), by_envoy) == (expected, expected)


@given(PATHS, spelled_paths())
@example(Pattern.parse("*0a"), "/%0a")
def test_expression_means_matches(pattern: Pattern, path: str) -> None:
    """The expression for Envoy matches exactly the paths that the comparison does."""
    if fault_in_request(path):
        return
    by_envoy = re.fullmatch(expression(pattern), path.partition("?")[0]) is not None
    assert by_envoy == matches(pattern, path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/v1/a-b_c.d~", True),
        ("/v1/*", True),
        ("*.json", True),
        ("*admin", False),
        ("/a:b", False),
        ("/é*", False),
    ],
)
def test_plain(value: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Unreserved characters and slashes have one spelling, unless a suffix could begin inside an escape."""
    assert plain(Pattern.parse(value)) is expected
