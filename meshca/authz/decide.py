"""Which policy and rule decides over a request. Pure, and the meaning that `compile` must keep.

Order (Istio's): a DENY rule that matches denies; with no ALLOW policy for the workload everything else is
allowed; else an ALLOW rule must match. The order in which policies were made never matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshca.authz import path
from meshca.authz.model import Action, Operation, Policy, PolicySet, Request, Rule, Source, Verdict, Workload
from meshca.authz.pattern import Pattern
from meshca.identity.spiffe_id import SCHEME, SpiffeId, TrustDomain

NO_ALLOW_POLICY = "no-allow-policy"  # nothing restricts the workload: allowed, as Istio means it
# ALLOW policies exist and none lets the request in. Sorts behind every `ns[`: Envoy asks rules by name.
NO_RULE_MATCHES = "without-matching-allow-rule"
EVERYTHING = Rule()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rule that applies to a workload, with its name and what its match means."""

    name: str
    action: Action
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for one workload, in order; the first step that matches decides.

    Attributes:
        steps: the rules that can match some requests and not others.
        otherwise: the verdict when none matched; a rule that matches everything ends the plan and is this.
    """

    steps: tuple[Step, ...]
    otherwise: Verdict


def plan(policies: PolicySet, workload: Workload) -> Plan:
    """The steps for one workload: DENY before ALLOW, each by name, then what holds when nothing matched."""
    applying = [policy for policy in policies.policies if not why_not_applying(policies, policy, workload)]
    found: list[Step] = []
    for step in sorted(_steps(applying), key=lambda step: (step.action is Action.ALLOW, step.name)):
        if step.rule == EVERYTHING:
            return Plan(steps=tuple(found), otherwise=_verdict(step))
        found.append(step)
    restricted = any(policy.action is Action.ALLOW for policy in applying)
    otherwise = Verdict(allowed=not restricted, rule=NO_RULE_MATCHES if restricted else NO_ALLOW_POLICY)
    return Plan(steps=tuple(found), otherwise=otherwise)


def _steps(policies: Iterable[Policy]) -> Iterator[Step]:
    for policy in policies:
        for index, rule in enumerate(policy.rules):
            yield Step(name=policy.rule_name(index), action=policy.action, rule=rule)


def decide(policies: PolicySet, workload: Workload, request: Request) -> Verdict:
    """Whether the request may reach the workload, and which rule says so."""
    asked = plan(policies, workload)
    for step in asked.steps:
        if not why_no_match(step, workload.trust_domain, request):
            return _verdict(step)
    return asked.otherwise


def why_not_applying(policies: PolicySet, policy: Policy, workload: Workload) -> str:
    """Why a policy does not hold for a workload; empty when it does."""
    if policy.namespace not in {policies.root_namespace, workload.namespace}:
        return f"holds in namespace {policy.namespace} only"
    for key, value in policy.selector.items():
        if workload.labels.get(key) != value:
            return f"holds for workloads with {key}={value} only"
    return ""


def why_no_match(step: Step, own: TrustDomain, request: Request) -> str:
    """Why a rule does not match a request; empty when it does."""
    rule = step.rule
    if rule.sources and not any(source_matches(item, step.action, own, request) for item in rule.sources):
        return "no source matches"
    if rule.operations and not any(_operation_matches(item, request) for item in rule.operations):
        return "no operation matches"
    return ""


def source_matches(source: Source, action: Action, own: TrustDomain, request: Request) -> bool:
    """Whether the caller is one that a source means; a caller without a certificate is none."""
    principal = request.principal
    if principal is None:
        return False
    if source.principals and not _any(source.principals, str(principal).removeprefix(SCHEME)):
        return False
    return not source.namespaces or _any(source.namespaces, _namespace(principal, action, own))


def _namespace(principal: SpiffeId, action: Action, own: TrustDomain) -> str:
    """The namespace that a caller belongs to, empty when none.

    A namespace of another trust domain may have the same name and another owner. So ALLOW means namespaces of
    the own trust domain only, and DENY means them in every one: a doubt never opens.
    """
    parts = principal.path.split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        return ""
    return parts[2] if action is Action.DENY or principal.trust_domain == own else ""


def _operation_matches(operation: Operation, request: Request) -> bool:
    if operation.methods and not _any(operation.methods, request.method):
        return False
    return not operation.paths or any(path.matches(item, request.path) for item in operation.paths)


def _any(patterns: tuple[Pattern, ...], value: str) -> bool:
    return any(pattern.matches(value) for pattern in patterns)


def _verdict(step: Step) -> Verdict:
    return Verdict(allowed=step.action is Action.ALLOW, rule=step.name)
