"""Turns the policies of one workload into one Envoy RBAC filter, with the meaning of `decide`.

One resource, so that DENY and ALLOW change together: `RBAC.matcher` asks the steps of the plan in order, and
each action carries the rule's name, which Envoy writes into its log for a refusal. The same policies give the
same bytes, so the content's hash can be the version. Regular expressions are kept for what needs them: Envoy
refuses those over 100 instructions unless its bootstrap raises the limit, as ours does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import UriSanInput
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from meshca.authz import path
from meshca.authz.decide import Step, plan
from meshca.authz.model import Action, Operation, PolicySet, Rule, Source, Verdict, Workload
from meshca.authz.pattern import Match, Pattern
from meshca.config.resource_names import AUTHZ
from meshca.identity.spiffe_id import SCHEME

SEVERAL_NAMES = "several-uri-names"  # an X509-SVID has exactly one URI SAN (X509-SVID.md section 2)
_Predicate = Matcher.MatcherList.Predicate  # Envoy's messages come without types, so signatures say Message
_SEGMENT = "[a-zA-Z0-9._-]"  # SPIFFE-ID.md section 2.2


def compile_rbac(policies: PolicySet, workload: Workload) -> bytes:
    """The filter for one workload: a serialized TypedExtensionConfig named `meshca-authz`, holding RBAC."""
    asked = plan(policies, workload)
    matcher = Matcher()
    _add(matcher, _several_names(), Verdict(allowed=False, rule=SEVERAL_NAMES))
    for step in asked.steps:
        verdict = Verdict(allowed=step.action is Action.ALLOW, rule=step.name)
        _add(matcher, _step(step, workload), verdict)
    _decide(matcher.on_no_match, asked.otherwise)
    extension = TypedExtensionConfig(name=AUTHZ)
    extension.typed_config.Pack(RBAC(matcher=matcher), deterministic=True)
    return bytes(extension.SerializeToString(deterministic=True))


def _add(matcher: Matcher, predicate: Message, verdict: Verdict) -> None:
    entry = matcher.matcher_list.matchers.add(predicate=predicate)
    _decide(entry.on_match, verdict)


def _decide(on_match: Matcher.OnMatch, verdict: Verdict) -> None:
    action = rbac_pb2.RBAC.ALLOW if verdict.allowed else rbac_pb2.RBAC.DENY
    on_match.action.name = "verdict"
    on_match.action.typed_config.Pack(rbac_pb2.Action(name=verdict.rule, action=action), deterministic=True)


def _several_names() -> Message:
    """The peer's URI names, joined by commas, hold a comma: no SPIFFE ID does, so there are several."""
    return _single(_peer(), StringMatcher(contains=","))


def _step(step: Step, workload: Workload) -> Message:
    return _all(_rule(step.rule, lambda source: _source(source, step.action, workload)))


def _rule(rule: Rule, source: Callable[[Source], Message]) -> list[Message]:
    """What must all hold; never empty, because a rule that matches everything ends the plan."""
    parts = []
    if rule.sources:
        parts.append(_any(source(item) for item in rule.sources))
    if rule.operations:
        parts.append(_any(_operation(item) for item in rule.operations))
    return parts


def _source(source: Source, action: Action, workload: Workload) -> Message:
    parts = []
    if source.principals:
        parts.append(_any(_single(_peer(), _principal(item)) for item in source.principals))
    if source.namespaces:
        domain = f"{_SEGMENT}+" if action is Action.DENY else re.escape(workload.trust_domain.name)
        parts.append(_any(_single(_peer(), _namespace(item, domain)) for item in source.namespaces))
    return _all(parts)


def _operation(operation: Operation) -> Message:
    parts = []
    if operation.methods:
        parts.append(_any(_single(_header(":method"), _plain(item)) for item in operation.methods))
    if operation.paths:
        parts.append(_any(predicate for item in operation.paths for predicate in _path(item)))
    return _all(parts)


def _principal(pattern: Pattern) -> StringMatcher:
    match pattern.match:
        case Match.EXACT:
            return StringMatcher(exact=SCHEME + pattern.text)
        case Match.PREFIX | Match.PRESENT:
            return StringMatcher(prefix=SCHEME + pattern.text)
        case _:  # a suffix, which must not reach into the scheme
            return _regex(f"{SCHEME}.*{re.escape(pattern.text)}")


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


def _path(pattern: Pattern) -> list[Message]:
    """`:path` holds the query too, which a policy does not look at."""
    given = _header(":path")
    if path.plain(pattern.text) and pattern.match is Match.PREFIX:
        return [_single(given, StringMatcher(prefix=pattern.text))]
    if path.plain(pattern.text) and pattern.match is Match.EXACT:
        bare = _single(given, StringMatcher(exact=pattern.text))
        return [bare, _single(given, StringMatcher(prefix=f"{pattern.text}?"))]
    return [_single(given, _regex(path.expression(pattern)))]


def _plain(pattern: Pattern) -> StringMatcher:
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
    return StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=expression))


def _header(name: str) -> Message:
    data: Message = HttpRequestHeaderMatchInput(header_name=name)
    return data


def _peer() -> Message:
    """The URI names of the peer's verified certificate; nothing matches them for a peer without one."""
    data: Message = UriSanInput()
    return data


def _single(data: Message, value: StringMatcher) -> Message:
    predicate = _Predicate()
    predicate.single_predicate.input.name = "input"
    predicate.single_predicate.input.typed_config.Pack(data, deterministic=True)
    predicate.single_predicate.value_match.CopyFrom(value)
    built: Message = predicate
    return built


def _all(parts: Iterable[Message]) -> Message:
    found = list(parts)
    whole: Message = _Predicate(and_matcher=_Predicate.PredicateList(predicate=found))
    return found[0] if len(found) == 1 else whole


def _any(parts: Iterable[Message]) -> Message:
    found = list(parts)
    whole: Message = _Predicate(or_matcher=_Predicate.PredicateList(predicate=found))
    return found[0] if len(found) == 1 else whole
