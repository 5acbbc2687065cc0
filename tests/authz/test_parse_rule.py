"""One rule: sources, operations, values; every refusal has its row."""

from __future__ import annotations

from typing import Any

import pytest

from meshca.authz.fields import Place, Problems
from meshca.authz.model import Operation, Rule, Source
from meshca.authz.parse_rule import rule
from meshca.authz.pattern import Pattern

HERE = Place("f", "rules[0]")
LATER_SOURCE = (
    *("requestPrincipals", "ipBlocks", "remoteIpBlocks", "serviceAccounts", "trustDomains", "notPrincipals"),
    *("notRequestPrincipals", "notNamespaces", "notIpBlocks", "notRemoteIpBlocks", "notServiceAccounts"),
    "notTrustDomains",
)
LATER_OPERATION = ("hosts", "ports", "notHosts", "notPorts", "notMethods", "notPaths")


def read(value: object) -> tuple[Rule, list[str]]:
    """The rule and the problems, without the common beginning of their place."""
    problems = Problems()
    found = rule(value, HERE, problems)
    return found, [problem.removeprefix("f: rules[0]").removeprefix(".") for problem in problems.found]


def with_source(**source: Any) -> dict[str, Any]:
    """A rule with one source."""
    return {"from": [{"source": source}]}


def with_operation(**operation: Any) -> dict[str, Any]:
    """A rule with one operation."""
    return {"to": [{"operation": operation}]}


def test_reads_everything_we_support() -> None:
    """All four fields are read, in every form of value."""
    found, problems = read(
        {
            "from": [
                {"source": {"principals": ["td/ns/a/sa/b", "td/*"], "namespaces": ["a"]}},
                {"source": {"namespaces": ["*"]}},
            ],
            "to": [{"operation": {"methods": ["GET"], "paths": ["*.json"]}}],
        }
    )
    parse = Pattern.parse
    assert problems == []
    assert found == Rule(
        sources=(
            Source(principals=(parse("td/ns/a/sa/b"), parse("td/*")), namespaces=(parse("a"),)),
            Source(namespaces=(parse("*"),)),
        ),
        operations=(Operation(methods=(parse("GET"),), paths=(parse("*.json"),)),),
    )


def test_empty_rule_is_everything() -> None:
    """`{}` has neither source nor operation, so it matches every request."""
    assert read({}) == (Rule(), [])


@pytest.mark.parametrize("field", LATER_SOURCE)
def test_source_fields_for_later(field: str) -> None:
    """Each of Istio's other source fields is named as not supported yet."""
    assert read(with_source(principals=["*"], **{field: ["x"]}))[1] == [
        f"from[0].source.{field}: not supported yet"
    ]


@pytest.mark.parametrize("field", LATER_OPERATION)
def test_operation_fields_for_later(field: str) -> None:
    """Each of Istio's other operation fields is named as not supported yet."""
    assert read(with_operation(paths=["*"], **{field: ["x"]}))[1] == [
        f"to[0].operation.{field}: not supported yet"
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(None, ": expected a mapping with from, to", id="nil-rule"),
        pytest.param({"when": []}, "when: not supported yet", id="when"),
        pytest.param({"form": []}, "form: unknown field; did you mean from?", id="unknown"),
        pytest.param({"from": None}, "from: has no value; give one, or remove the key", id="from-nothing"),
        pytest.param(
            {"from": []}, "from: an empty list matches nothing; remove the key, or give a value", id="from-empty"
        ),
        pytest.param(
            {"to": []}, "to: an empty list matches nothing; remove the key, or give a value", id="to-empty"
        ),
        pytest.param({"from": {}}, "from: expected a list", id="from-mapping"),
        pytest.param(
            {"from": [{}]},
            "from[0].source: is empty; give one of namespaces, principals, or remove the item",
            id="no-source",
        ),
        pytest.param(
            with_source(),
            "from[0].source: is empty; give one of namespaces, principals, or remove the item",
            id="source-empty",
        ),
        pytest.param(
            with_operation(),
            "to[0].operation: is empty; give one of methods, paths, or remove the item",
            id="operation-empty",
        ),
        pytest.param({"from": ["x"]}, "from[0]: expected a mapping with source", id="from-text"),
        pytest.param(
            {"from": [{"source": None}]},
            "from[0].source: has no value; give one, or remove the key",
            id="source-nothing",
        ),
        pytest.param(
            with_source(principals=[]),
            "from[0].source.principals: an empty list matches nothing; remove the key, or give a value",
            id="no-principal",
        ),
    ],
)
def test_refuses_shapes(value: object, problem: str) -> None:
    """Empty parts would mean everyone, and unknown ones nobody knows what: both are refused."""
    assert read(value)[1] == [problem]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("principals", "", "an empty value matches nothing", id="empty"),
        pytest.param("principals", 7, "expected a string", id="number"),
        pytest.param("principals", "spiffe://td/ns/a/sa/b", "without spiffe://", id="scheme"),
        pytest.param("principals", "TD/ns/a/sa/b", "expected <trust domain>/ns/", id="upper-case-domain"),
        pytest.param("principals", "TD/ns/*", "no SPIFFE ID has these characters", id="upper-case-domain-prefix"),
        pytest.param("principals", "td", "expected <trust domain>/ns/", id="no-path"),
        pytest.param("principals", "td//ns/*", "no SPIFFE ID", id="double-slash"),
        pytest.param("principals", "*/sa/a b", "no SPIFFE ID", id="space"),
        pytest.param("principals", "td/ns/*/sa/b", "a star may only stand alone", id="star-inside"),
        pytest.param("namespaces", "a/b", "a namespace is made of", id="namespace-slash"),
        pytest.param("namespaces", "Shop", "a namespace is made of", id="namespace-upper-case"),
        pytest.param("namespaces", "a*b", "a star may only stand alone", id="namespace-star-inside"),
    ],
)
def test_refuses_source_values(field: str, value: object, problem: str) -> None:
    """Each value that no caller could ever have is refused at its place."""
    _, problems = read(with_source(**{field: [value]}))
    assert [item.startswith(f"from[0].source.{field}[0]: {problem}") or problem in item for item in problems] == [
        True
    ]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        pytest.param("methods", "get", "in capitals", id="lower-case"),
        pytest.param("methods", "GET POST", "in capitals", id="two-methods"),
        pytest.param("paths", "admin", "begins with a slash", id="no-slash"),
        pytest.param("paths", "/x/../admin", "resolves", id="dots"),
        pytest.param("paths", "/v1/{*}/x", "not supported yet", id="template"),
        pytest.param("paths", True, "expected a string", id="truth-value"),
    ],
)
def test_refuses_operation_values(field: str, value: object, problem: str) -> None:
    """Each value that no request could ever have is refused at its place."""
    _, problems = read(with_operation(**{field: [value]}))
    assert [problem in item for item in problems] == [True]


def test_lists_every_problem() -> None:
    """Reading goes on after a problem."""
    _, problems = read(with_operation(paths=["x", "/ok", "//y"], hosts=["h"]) | {"when": []})
    assert len(problems) == 4
