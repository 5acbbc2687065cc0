"""Turns the policies of one workload into one Envoy RBAC filter, with the meaning of `decide`.

One resource, so that DENY and ALLOW change together: an engine of action DENY whose policies are the DENY
rules, and one more that matches what no ALLOW rule lets in. So Envoy's log names the rule behind every refusal
(docs/adr/0008-one-deny-engine.md). The same policies give the same bytes, so the content's hash can be the
version. Regular expressions are kept for what needs them: Envoy refuses those over 100 instructions unless its
bootstrap raises the limit, as ours does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.message import Message

from meshca.authz import path
from meshca.authz.decide import Plan, Step, plan
from meshca.authz.model import Action, Operation, PolicySet, Source, Workload
from meshca.authz.pattern import Match, Pattern
from meshca.config.resource_names import AUTHZ
from meshca.identity.spiffe_id import SCHEME

# Envoy's messages come without types, so signatures say Message. A Principal can ask about the caller and the
# request alike, which Permission cannot, so everything is written as one.
_Principal = rbac_pb2.Principal
_SEGMENT = "[a-zA-Z0-9._-]"  # SPIFFE-ID.md section 2.2


def compile_rbac(policies: PolicySet, workload: Workload) -> bytes:
    """The filter for one workload: a serialized TypedExtensionConfig named `meshca-authz`, holding RBAC."""
    extension = TypedExtensionConfig(name=AUTHZ)
    extension.typed_config.Pack(RBAC(rules=_engine(plan(policies, workload), workload)), deterministic=True)
    return bytes(extension.SerializeToString(deterministic=True))


def _engine(asked: Plan, workload: Workload) -> Message:
    """Envoy asks policies in the order of their names, which is the order of the plan."""
    denies = {step.name: _step(step, workload) for step in asked.steps if step.action is Action.DENY}
    allows = [_step(step, workload) for step in asked.steps if step.action is Action.ALLOW]
    if not asked.otherwise.allowed:
        denies[asked.otherwise.rule] = _Principal(not_id=_any(allows)) if allows else _everyone()
    if not denies:
        return _rules(rbac_pb2.RBAC.ALLOW, {asked.otherwise.rule: _everyone()})
    return _rules(rbac_pb2.RBAC.DENY, denies)


def _rules(action: int, principals: dict[str, Message]) -> Message:
    rules = rbac_pb2.RBAC(action=action)
    for name, principal in principals.items():
        everything = rbac_pb2.Permission(any=True)
        rules.policies[name].CopyFrom(rbac_pb2.Policy(permissions=[everything], principals=[principal]))
    built: Message = rules
    return built


def _step(step: Step, workload: Workload) -> Message:
    """Who and what a rule means; never empty, because a rule that matches everything ends the plan."""
    parts = []
    if step.rule.sources:
        parts.append(_any(_source(item, step.action, workload) for item in step.rule.sources))
    if step.rule.operations:
        parts.append(_any(_operation(item) for item in step.rule.operations))
    return _all(parts)


def _source(source: Source, action: Action, workload: Workload) -> Message:
    """A peer without a certificate is not authenticated, so no source means it."""
    parts = []
    if source.principals:
        parts.append(_any(_caller(_principal(item)) for item in source.principals))
    if source.namespaces:
        domain = f"{_SEGMENT}+" if action is Action.DENY else re.escape(workload.trust_domain.name)
        parts.append(_any(_caller(_namespace(item, domain)) for item in source.namespaces))
    return _all(parts)


def _operation(operation: Operation) -> Message:
    parts = []
    if operation.methods:
        parts.append(_any(_method(item) for item in operation.methods))
    if operation.paths:
        parts.append(_any(_path(item) for item in operation.paths))
    return _all(parts)


def _principal(pattern: Pattern) -> StringMatcher:
    match pattern.match:
        case Match.EXACT:
            return StringMatcher(exact=SCHEME + pattern.text)
        case Match.SUFFIX:  # must not reach into the scheme
            return _regex(f"{SCHEME}.*{re.escape(pattern.text)}")
        case _:  # prefix, and presence, whose text is empty
            return StringMatcher(prefix=SCHEME + pattern.text)


def _namespace(pattern: Pattern, domain: str) -> StringMatcher:
    """`spiffe://<domain>/ns/<namespace>/sa/<any>`, segment by segment, so that no star crosses a slash."""
    text = re.escape(pattern.text)
    namespace = {
        Match.EXACT: text,
        Match.PREFIX: f"{text}{_SEGMENT}*",
        Match.SUFFIX: f"{_SEGMENT}*{text}",
        Match.PRESENT: f"{_SEGMENT}+",
    }[pattern.match]
    return _regex(f"{SCHEME}{domain}/ns/{namespace}/sa/{_SEGMENT}+")


def _method(pattern: Pattern) -> Message:
    method: Message = _Principal(header=HeaderMatcher(name=":method", string_match=_text(pattern)))
    return method


def _path(pattern: Pattern) -> Message:
    """Envoy's `url_path` is the path without its query."""
    value = _text(pattern) if path.plain(pattern) else _regex(path.expression(pattern))
    asked: Message = _Principal(url_path=PathMatcher(path=value))
    return asked


def _text(pattern: Pattern) -> StringMatcher:
    match pattern.match:
        case Match.EXACT:
            return StringMatcher(exact=pattern.text)
        case Match.PREFIX:
            return StringMatcher(prefix=pattern.text)
        case Match.SUFFIX:
            return StringMatcher(suffix=pattern.text)
        case _:  # presence
            return _regex(".+")


def _regex(expression: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=expression))


def _caller(name: StringMatcher) -> Message:
    """The URI names of the peer's verified certificate."""
    caller: Message = _Principal(authenticated=_Principal.Authenticated(principal_name=name))
    return caller


def _everyone() -> Message:
    everyone: Message = _Principal(any=True)
    return everyone


def _all(parts: Iterable[Message]) -> Message:
    found = list(parts)
    whole: Message = _Principal(and_ids=_Principal.Set(ids=found))
    return found[0] if len(found) == 1 else whole


def _any(parts: Iterable[Message]) -> Message:
    found = list(parts)
    whole: Message = _Principal(or_ids=_Principal.Set(ids=found))
    return found[0] if len(found) == 1 else whole
