"""Why a request is allowed or denied: every policy, every rule, and what kept it from deciding.

For people; `decide` is the meaning. Explains, never decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshca.authz.decide import Step, decide, why_no_match, why_not_applying
from meshca.authz.model import Policy, PolicySet, Request, Verdict, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A policy or rule that was looked at.

    Attributes:
        name: of the rule, or of the policy when it has no rule or does not hold.
        action: ALLOW or DENY.
        why: what kept it from matching; `matches` when it matches.
        decided: whether it is the one that decided.
    """

    name: str
    action: str
    why: str
    decided: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A verdict and everything that was considered, in the order of the policies."""

    verdict: Verdict
    considered: tuple[Considered, ...]


def explain(policies: PolicySet, workload: Workload, request: Request) -> Explanation:
    """The verdict over a request, and what each policy contributed."""
    verdict = decide(policies, workload, request)
    considered = [
        Considered(name=name, action=policy.action.value, why=why, decided=name == verdict.rule)
        for policy in policies.policies
        for name, why in _look(policies, policy, workload, request)
    ]
    return Explanation(verdict=verdict, considered=tuple(considered))


def _look(policies: PolicySet, policy: Policy, workload: Workload, request: Request) -> list[tuple[str, str]]:
    whole = f"ns[{policy.namespace}]-policy[{policy.name}]"
    if why := why_not_applying(policies, policy, workload):
        return [(whole, why)]
    if not policy.rules:
        return [(whole, "has no rules, so it allows nothing")]
    steps = [
        Step(name=policy.rule_name(index), action=policy.action, rule=rule)
        for index, rule in enumerate(policy.rules)
    ]
    return [(step.name, why_no_match(step, workload.trust_domain, request) or "matches") for step in steps]
