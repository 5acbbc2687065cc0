"""Who is let in: order, empties, scope, matching, as tables and laws."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.authz.decide import NO_ALLOW_POLICY, NO_RULE_MATCHES, Step, decide, why_no_match, why_not_applying
from meshca.authz.model import Action, Operation, Policy, PolicySet, Request, Rule, Source, Verdict, Workload
from meshca.authz.pattern import Pattern
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from tests.authz.strategies import POLICY_SETS, REQUESTS, WORKLOADS

WORKLOAD = Workload(namespace="shop", trust_domain=TrustDomain("cluster.local"), labels={"app": "web", "v": "1"})
WEB = "spiffe://cluster.local/ns/shop/sa/web"
EVERYTHING = (Rule(),)


def policy(name: str, action: Action, *rules: Rule, namespace: str = "shop", **selector: str) -> Policy:
    """A policy in the workload's namespace unless said otherwise."""
    return Policy(namespace=namespace, name=name, action=action, rules=rules, selector=selector)


def source(*, principals: tuple[str, ...] = (), namespaces: tuple[str, ...] = ()) -> Rule:
    """A rule with one source."""
    return Rule(
        sources=(
            Source(
                principals=tuple(map(Pattern.parse, principals)), namespaces=tuple(map(Pattern.parse, namespaces))
            ),
        )
    )


def operation(*, methods: tuple[str, ...] = (), paths: tuple[str, ...] = ()) -> Rule:
    """A rule with one operation."""
    return Rule(
        operations=(Operation(methods=tuple(map(Pattern.parse, methods)), paths=tuple(map(Pattern.parse, paths))),)
    )


def request(principal: str | None = WEB, method: str = "GET", path: str = "/") -> Request:
    """A request of shop/web."""
    return Request(principal=SpiffeId.parse(principal) if principal else None, method=method, path=path)


def ask(*policies: Policy, of: Request | None = None) -> Verdict:
    """The verdict of a set over a request."""
    return decide(PolicySet(policies=policies), WORKLOAD, of or request())


GET = operation(methods=("GET",))
POST = operation(methods=("POST",))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param((), Verdict(allowed=True, rule=NO_ALLOW_POLICY), id="no-policy"),
        pytest.param(
            (policy("a", Action.ALLOW),), Verdict(allowed=False, rule=NO_RULE_MATCHES), id="allow-nothing"
        ),
        pytest.param(
            (policy("a", Action.ALLOW, Rule()),),
            Verdict(allowed=True, rule="ns[shop]-policy[a]-rule[0]"),
            id="allow-everything",
        ),
        pytest.param(
            (policy("d", Action.DENY, Rule()),),
            Verdict(allowed=False, rule="ns[shop]-policy[d]-rule[0]"),
            id="deny-everything",
        ),
        pytest.param(
            (policy("a", Action.ALLOW, POST, GET),),
            Verdict(allowed=True, rule="ns[shop]-policy[a]-rule[1]"),
            id="second-rule",
        ),
        pytest.param(
            (policy("a", Action.ALLOW, POST),), Verdict(allowed=False, rule=NO_RULE_MATCHES), id="no-rule-matches"
        ),
        pytest.param(
            (policy("d", Action.DENY, POST),),
            Verdict(allowed=True, rule=NO_ALLOW_POLICY),
            id="deny-of-others-only",
        ),
        pytest.param(
            (policy("a", Action.ALLOW, GET), policy("z", Action.DENY, GET)),
            Verdict(allowed=False, rule="ns[shop]-policy[z]-rule[0]"),
            id="deny-wins",
        ),
        pytest.param(
            (policy("a", Action.ALLOW), policy("b", Action.ALLOW, GET)),
            Verdict(allowed=True, rule="ns[shop]-policy[b]-rule[0]"),
            id="allow-nothing-and-another",
        ),
        pytest.param(
            (policy("a", Action.ALLOW, Rule()), policy("d", Action.DENY, GET)),
            Verdict(allowed=False, rule="ns[shop]-policy[d]-rule[0]"),
            id="allow-everything-but",
        ),
        pytest.param(
            (policy("a", Action.ALLOW, POST, namespace="other"),),
            Verdict(allowed=True, rule=NO_ALLOW_POLICY),
            id="of-another-namespace",
        ),
        pytest.param(
            (policy("r", Action.DENY, GET, namespace="istio-system"),),
            Verdict(allowed=False, rule="ns[istio-system]-policy[r]-rule[0]"),
            id="of-the-root-namespace",
        ),
        pytest.param(
            (policy("r", Action.DENY, GET, namespace="istio-system", app="db"),),
            Verdict(allowed=True, rule=NO_ALLOW_POLICY),
            id="root-namespace-with-selector",
        ),
        pytest.param(
            (policy("s", Action.DENY, GET, app="web"),),
            Verdict(allowed=False, rule="ns[shop]-policy[s]-rule[0]"),
            id="selector-is-a-subset",
        ),
        pytest.param(
            (policy("s", Action.DENY, GET, app="web", tier="x"),),
            Verdict(allowed=True, rule=NO_ALLOW_POLICY),
            id="selector-wants-a-label-more",
        ),
    ],
)
def test_order_and_scope(policies: tuple[Policy, ...], expected: Verdict) -> None:
    """DENY before ALLOW, no ALLOW policy means open, scope by namespace and labels."""
    assert ask(*policies) == expected


@pytest.mark.parametrize(
    ("rule", "principal", "expected"),
    [
        pytest.param(source(principals=("cluster.local/ns/shop/sa/web",)), WEB, True, id="exact"),
        pytest.param(source(principals=("other.td/ns/shop/sa/web",)), WEB, False, id="trust-domain-counts"),
        pytest.param(source(principals=("cluster.local/ns/shop/*",)), WEB, True, id="prefix"),
        pytest.param(source(principals=("*/sa/web",)), WEB, True, id="suffix"),
        pytest.param(source(principals=("*",)), WEB, True, id="any-identity"),
        pytest.param(source(principals=("*",)), None, False, id="plaintext-has-no-identity"),
        pytest.param(source(namespaces=("*",)), None, False, id="plaintext-has-no-namespace"),
        pytest.param(source(namespaces=("shop",)), WEB, True, id="namespace"),
        pytest.param(source(namespaces=("sho*",)), WEB, True, id="namespace-prefix"),
        pytest.param(source(namespaces=("*op",)), WEB, True, id="namespace-suffix"),
        pytest.param(source(namespaces=("*",)), WEB, True, id="namespace-presence"),
        pytest.param(source(namespaces=("sh",)), WEB, False, id="namespace-exact"),
        pytest.param(
            source(namespaces=("shop",)), "spiffe://other.td/ns/shop/sa/web", False, id="foreign-namespace"
        ),
        pytest.param(
            source(namespaces=("shop",)),
            "spiffe://cluster.local/x/ns/shop/sa/web",
            False,
            id="namespace-elsewhere",
        ),
        pytest.param(
            source(namespaces=("*",)), "spiffe://cluster.local/ns/shop/sa/web/x", False, id="longer-path"
        ),
        pytest.param(source(namespaces=("*",)), "spiffe://cluster.local/nx/shop/sa/web", False, id="not-ns"),
        pytest.param(source(namespaces=("*",)), "spiffe://cluster.local/ns/shop/sx/web", False, id="not-sa"),
        pytest.param(
            source(principals=("cluster.local/ns/shop/sa/web",), namespaces=("other",)),
            WEB,
            False,
            id="both-fields",
        ),
        pytest.param(Rule(), None, True, id="empty-rule-and-plaintext"),
    ],
)
def test_sources(rule: Rule, principal: str | None, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Each form of source in an ALLOW rule."""
    assert ask(policy("a", Action.ALLOW, rule), of=request(principal)).allowed is expected


def test_deny_means_namespaces_of_every_trust_domain() -> None:
    """A foreign namespace of the same name is denied though it would not be allowed."""
    foreign = request("spiffe://other.td/ns/shop/sa/web")
    assert not ask(policy("d", Action.DENY, source(namespaces=("shop",))), of=foreign).allowed


@pytest.mark.parametrize(
    ("rule", "method", "path", "expected"),
    [
        pytest.param(operation(paths=("/a",)), "GET", "/a?x", True, id="query-left-out"),
        pytest.param(operation(paths=("/a",)), "GET", "/a/", False, id="other-path"),
        pytest.param(operation(methods=("GET", "POST")), "POST", "/", True, id="values-are-or"),
        pytest.param(operation(methods=("GET",)), "get", "/", False, id="methods-are-case-sensitive"),
        pytest.param(operation(methods=("*",)), "ANY", "/", True, id="any-method"),
        pytest.param(operation(methods=("GET",), paths=("/a",)), "GET", "/b", False, id="fields-are-and"),
        pytest.param(operation(methods=("GET",), paths=("/a",)), "GET", "/a", True, id="both-fields"),
    ],
)
def test_operations(rule: Rule, method: str, path: str, expected: bool) -> None:  # noqa: FBT001 - a column of the table
    """Each form of operation."""
    assert ask(policy("a", Action.ALLOW, rule), of=request(method=method, path=path)).allowed is expected


def test_sources_and_operations_are_and() -> None:
    """One of the sources and one of the operations must match."""
    rule = Rule(
        sources=(*source(namespaces=("x",)).sources, *source(namespaces=("shop",)).sources),
        operations=(*POST.operations, *GET.operations),
    )
    found = policy("a", Action.ALLOW, rule)
    assert [
        ask(found, of=item).allowed
        for item in (request(), request(method="PUT"), request("spiffe://cluster.local/ns/y/sa/web"))
    ] == [True, False, False]


@given(POLICY_SETS, WORKLOADS, REQUESTS)
def test_is_what_istio_writes(policies: PolicySet, workload: Workload, request: Request) -> None:
    """Deny if a DENY policy matches; allow if there is no ALLOW policy; else only if one matches."""
    holding = [item for item in policies.policies if not why_not_applying(policies, item, workload)]

    def matching(action: Action) -> bool:
        return any(
            not why_no_match(Step(name="", action=action, rule=rule), workload.trust_domain, request)
            for item in holding
            for rule in item.rules
            if item.action is action
        )

    no_allow_policy = all(item.action is Action.DENY for item in holding)
    expected = not matching(Action.DENY) and (no_allow_policy or matching(Action.ALLOW))
    assert decide(policies, workload, request).allowed is expected


@given(POLICY_SETS, WORKLOADS, REQUESTS, st.randoms())
def test_order_of_policies_never_matters(
    policies: PolicySet, workload: Workload, request: Request, shuffler: random.Random
) -> None:
    """The same policies in another order give the same verdict, rule included."""
    shuffled = list(policies.policies)
    shuffler.shuffle(shuffled)
    assert decide(PolicySet(policies=tuple(shuffled)), workload, request) == decide(policies, workload, request)


@given(POLICY_SETS, WORKLOADS, REQUESTS)
def test_another_deny_never_opens(policies: PolicySet, workload: Workload, request: Request) -> None:
    """Adding a DENY policy can only take away."""
    more = PolicySet(policies=(*policies.policies, policy("zzz", Action.DENY, GET, namespace="istio-system")))
    assert decide(policies, workload, request).allowed or not decide(more, workload, request).allowed
