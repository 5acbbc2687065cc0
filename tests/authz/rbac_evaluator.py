"""An evaluator of the compiled filter, written against Envoy's documentation and not against our compiler.

Reads the serialized TypedExtensionConfig and answers as Envoy would: first entry of the matcher list whose
predicate holds, else `on_no_match` (xds.type.matcher.v3.Matcher, envoy.extensions.filters.http.rbac.v3.RBAC).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What Envoy sees of a request: the peer's URI names and the pseudo-headers."""

    uris: tuple[str, ...]
    headers: Mapping[str, str]


def evaluate(extension: bytes, seen: Seen) -> tuple[bool, str]:
    """Whether the filter lets the request pass, and the name of the action that said so."""
    filter_ = RBAC()
    config = TypedExtensionConfig.FromString(extension)
    assert config.typed_config.Unpack(filter_)
    for entry in filter_.matcher.matcher_list.matchers:
        if _holds(entry.predicate, seen):
            return _action(entry.on_match)
    return _action(filter_.matcher.on_no_match)


def _action(on_match: Any) -> tuple[bool, str]:
    action = rbac_pb2.Action()
    assert on_match.action.typed_config.Unpack(action)
    return action.action == rbac_pb2.RBAC.ALLOW, action.name


def _holds(predicate: Any, seen: Seen) -> bool:
    match predicate.WhichOneof("match_type"):
        case "and_matcher":
            assert len(predicate.and_matcher.predicate) > 1
            return all(_holds(item, seen) for item in predicate.and_matcher.predicate)
        case "or_matcher":
            assert len(predicate.or_matcher.predicate) > 1
            return any(_holds(item, seen) for item in predicate.or_matcher.predicate)
        case "single_predicate":
            value = _input(predicate.single_predicate.input.typed_config, seen)
            return value is not None and _string(predicate.single_predicate.value_match, value)
        case other:
            raise AssertionError(other)


def _input(data: Any, seen: Seen) -> str | None:
    header = HttpRequestHeaderMatchInput()
    if data.Unpack(header):
        return seen.headers.get(header.header_name)
    assert data.Is(UriSanInput.DESCRIPTOR)
    return ",".join(seen.uris) if seen.uris else None


def _string(matcher: Any, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return bool(value == matcher.exact)
        case "prefix":
            return value.startswith(matcher.prefix)
        case "suffix":
            return value.endswith(matcher.suffix)
        case "contains":
            return matcher.contains in value
        case "safe_regex":
            return re.fullmatch(matcher.safe_regex.regex, value) is not None
        case other:
            raise AssertionError(other)
