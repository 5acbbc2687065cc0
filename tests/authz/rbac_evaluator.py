"""An evaluator of the compiled filter, written against Envoy's documentation and not against our compiler.

Reads the serialized TypedExtensionConfig and answers as Envoy would (envoy.config.rbac.v3.RBAC): a policy
matches when one permission and one principal do; policies are asked in the order of their names; ALLOW wants a
match, DENY wants none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What Envoy sees of a request: the peer's URI names (none without a certificate) and the headers."""

    uris: tuple[str, ...]
    headers: Mapping[str, str]


def evaluate(extension: bytes, seen: Seen) -> tuple[bool, str]:
    """Whether the filter lets the request pass, and the policy that matched (empty when none did)."""
    filter_ = RBAC()
    assert TypedExtensionConfig.FromString(extension).typed_config.Unpack(filter_)
    assert filter_.HasField("rules")
    matched = next(
        (name for name, policy in sorted(filter_.rules.policies.items()) if _policy(policy, seen)),
        "",
    )
    return bool(matched) == (filter_.rules.action == rbac_pb2.RBAC.ALLOW), matched


def _policy(policy: Any, seen: Seen) -> bool:
    assert all(permission.any for permission in policy.permissions)
    return bool(policy.permissions) and any(_principal(item, seen) for item in policy.principals)


def _principal(principal: Any, seen: Seen) -> bool:  # noqa: PLR0911 - one answer for each form
    match principal.WhichOneof("identifier"):
        case "any":
            return bool(principal.any)
        case "and_ids":
            assert principal.and_ids.ids
            return all(_principal(item, seen) for item in principal.and_ids.ids)
        case "or_ids":
            assert principal.or_ids.ids
            return any(_principal(item, seen) for item in principal.or_ids.ids)
        case "not_id":
            return not _principal(principal.not_id, seen)
        case "authenticated":
            return any(_string(principal.authenticated.principal_name, uri) for uri in seen.uris)
        case "header":
            value = seen.headers.get(principal.header.name)
            return value is not None and _string(principal.header.string_match, value)
        case "url_path":
            bare = re.split(r"[?#]", seen.headers[":path"], maxsplit=1)[0]
            return _string(principal.url_path.path, bare)
        case other:
            raise AssertionError(other)


def _string(matcher: Any, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return bool(value == matcher.exact)
        case "prefix":
            return value.startswith(matcher.prefix)
        case "suffix":
            return value.endswith(matcher.suffix)
        case "safe_regex":
            return re.fullmatch(matcher.safe_regex.regex, value) is not None
        case other:
            raise AssertionError(other)
