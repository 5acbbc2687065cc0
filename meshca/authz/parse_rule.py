"""Reads one rule of an AuthorizationPolicy: its sources, operations and their values.

Values that no request could ever match are refused: in a DENY they would be a hole that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from meshca.authz import path
from meshca.authz.fields import Place, Problems, Shape, items, mapping, text
from meshca.authz.model import Operation, Rule, Source
from meshca.authz.pattern import Match, Pattern
from meshca.errors import BadRequest
from meshca.identity.spiffe_id import SCHEME, SpiffeId

_RULE = Shape(known=frozenset({"from", "to"}), later=frozenset({"when"}))
_FROM = Shape(known=frozenset({"source"}))
_TO = Shape(known=frozenset({"operation"}))
_SOURCE = Shape(
    known=frozenset({"principals", "namespaces"}),
    later=frozenset(
        {
            *("requestPrincipals", "ipBlocks", "remoteIpBlocks", "serviceAccounts", "trustDomains"),
            *("notPrincipals", "notRequestPrincipals", "notNamespaces", "notIpBlocks", "notRemoteIpBlocks"),
            *("notServiceAccounts", "notTrustDomains"),
        }
    ),
)
_OPERATION = Shape(
    known=frozenset({"methods", "paths"}),
    later=frozenset({"hosts", "ports", "notHosts", "notPorts", "notMethods", "notPaths"}),
)
_ID_PART = re.compile(r"[a-zA-Z0-9._/-]*")  # SPIFFE-ID.md section 2: what an ID without its scheme is made of
_TRUST_DOMAIN_PART = re.compile(r"[a-z0-9._-]*")
_NAMESPACE_PART = re.compile(r"[a-z0-9-]*")
_METHOD_PART = re.compile(r"[A-Z0-9_-]*")


def rule(value: object, place: Place, problems: Problems) -> Rule:
    """One item of `spec.rules`; `{}` matches everything."""
    fields = mapping(value, _RULE, place, problems)
    return Rule(
        sources=tuple(
            _source(item, place.at("from").at(index), problems)
            for index, item in enumerate(_optional(fields, "from", place, problems))
        ),
        operations=tuple(
            _operation(item, place.at("to").at(index), problems)
            for index, item in enumerate(_optional(fields, "to", place, problems))
        ),
    )


def _optional(fields: object, key: str, place: Place, problems: Problems) -> tuple[object, ...]:
    if not isinstance(fields, dict) or key not in fields:
        return ()
    return tuple(items(fields[key], place.at(key), problems))


def _source(value: object, place: Place, problems: Problems) -> Source:
    fields = _inner(value, _FROM, "source", _SOURCE, place, problems)
    where = place.at("source")
    return Source(
        principals=_patterns(fields, "principals", _principal, where, problems),
        namespaces=_patterns(fields, "namespaces", _namespace, where, problems),
    )


def _operation(value: object, place: Place, problems: Problems) -> Operation:
    fields = _inner(value, _TO, "operation", _OPERATION, place, problems)
    where = place.at("operation")
    return Operation(
        methods=_patterns(fields, "methods", _method, where, problems),
        paths=_patterns(fields, "paths", _path, where, problems),
    )


def _inner(  # noqa: PLR0913, PLR0917 - a mapping in a mapping, each with its shape and place
    value: object, outer: Shape, key: str, shape: Shape, place: Place, problems: Problems
) -> dict[str, object]:
    """`{source: {…}}` or `{operation: {…}}`: neither may be empty, or it would mean everyone or everything."""
    before = len(problems.found)
    fields = mapping(value, outer, place, problems)
    inner = mapping(fields.get(key, {}), shape, place.at(key), problems)
    if not inner and len(problems.found) == before:
        problems.add(place.at(key), f"is empty; give one of {', '.join(sorted(shape.known))}, or remove the item")
    return dict(inner)


def _patterns(
    fields: dict[str, object], key: str, check: Callable[[Pattern], str], place: Place, problems: Problems
) -> tuple[Pattern, ...]:
    found: list[Pattern] = []
    for index, item in enumerate(_optional(fields, key, place, problems)):
        where = place.at(key).at(index)
        if not isinstance(item, str):
            text(item, where, problems)
            continue
        with problems.noting(where):
            pattern = Pattern.parse(item)
            if fault := check(pattern):
                raise BadRequest("pattern", fault)
            found.append(pattern)
    return tuple(found)


def _principal(pattern: Pattern) -> str:
    if pattern.text.startswith(SCHEME):
        return "write the principal without spiffe://"
    if pattern.match is Match.EXACT:
        try:
            SpiffeId.parse(SCHEME + pattern.text)
        except BadRequest as error:
            return f"expected <trust domain>/ns/<namespace>/sa/<service account>: {error.detail}"
        return ""
    domain = pattern.text.partition("/")[0] if pattern.match is Match.PREFIX else ""
    if not _ID_PART.fullmatch(pattern.text) or not _TRUST_DOMAIN_PART.fullmatch(domain) or "//" in pattern.text:
        return "no SPIFFE ID has these characters; the trust domain is lower case"
    return ""


def _namespace(pattern: Pattern) -> str:
    return "" if _NAMESPACE_PART.fullmatch(pattern.text) else "a namespace is made of a-z, 0-9 and -"


def _method(pattern: Pattern) -> str:
    return "" if _METHOD_PART.fullmatch(pattern.text) else "a method is written in capitals, such as GET"


def _path(pattern: Pattern) -> str:
    return path.fault_in_value(str(pattern))
