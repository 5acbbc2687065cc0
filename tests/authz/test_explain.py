"""Explanations: every policy and rule, and what kept it from deciding."""

from __future__ import annotations

from hypothesis import given

from meshca.authz.decide import decide
from meshca.authz.explain import Considered, explain
from meshca.authz.model import Action, Policy, PolicySet, Request, Rule, Workload
from meshca.authz.pattern import Pattern
from meshca.identity.spiffe_id import TrustDomain
from tests.authz.strategies import POLICY_SETS, REQUESTS, WORKLOADS
from tests.authz.test_decide import GET, POST, policy, source


def test_says_why_each_did_not_decide() -> None:
    """Scope, selector, emptiness, source and operation each have their words."""
    policies = PolicySet(
        policies=(
            policy("closed", Action.ALLOW),
            policy("elsewhere", Action.ALLOW, Rule(), namespace="other"),
            policy("labelled", Action.ALLOW, Rule(), app="db"),
            policy("named", Action.ALLOW, source(namespaces=("x",)), POST, GET),
        )
    )
    workload = Workload(namespace="shop", trust_domain=TrustDomain("cluster.local"))
    found = explain(policies, workload, Request(principal=None, method="GET", path="/"))
    assert found.verdict.rule == "ns[shop]-policy[named]-rule[2]"
    assert [(item.name, item.why, item.decided) for item in found.considered] == [
        ("ns[other]-policy[elsewhere]", "holds in namespace other only", False),
        ("ns[shop]-policy[closed]", "has no rules, so it allows nothing", False),
        ("ns[shop]-policy[labelled]", "holds for workloads with app=db only", False),
        ("ns[shop]-policy[named]-rule[0]", "no source matches", False),
        ("ns[shop]-policy[named]-rule[1]", "no operation matches", False),
        ("ns[shop]-policy[named]-rule[2]", "matches", True),
    ]


@given(POLICY_SETS, WORKLOADS, REQUESTS)
def test_explains_the_verdict_that_is_given(policies: PolicySet, workload: Workload, request: Request) -> None:
    """The verdict is that of `decide`, and the rule that decided is marked as matching."""
    found = explain(policies, workload, request)
    assert found.verdict == decide(policies, workload, request)
    assert all(item.why == "matches" for item in found.considered if item.decided)


def test_values_compare() -> None:
    """Explanations are plain values."""
    pattern = Pattern.parse("*")
    assert Considered(name="a", action="DENY", why=str(pattern)) == Considered(name="a", action="DENY", why="*")
    assert Policy(namespace="a", name="b").selector == {}
