"""The compiled filter means what `decide` says: tables, and a differential test with an evaluator of its own."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from hypothesis import given, settings

from meshca.authz.compile import compile_rbac
from meshca.authz.decide import NO_ALLOW_POLICY, NO_RULE_MATCHES, decide
from meshca.authz.model import Action, Policy, PolicySet, Request, Rule, Workload
from tests.authz.rbac_evaluator import Seen, evaluate
from tests.authz.strategies import POLICY_SETS, REQUESTS, WORKLOADS
from tests.authz.test_decide import GET, WEB, WORKLOAD, operation, policy, request, source


def seen(asked: Request, *uris: str) -> Seen:
    """A request as Envoy sees it, with the peer's own URI names unless others are given."""
    own = (str(asked.principal),) if asked.principal else ()
    return Seen(uris=uris or own, headers={":method": asked.method, ":path": asked.path})


@settings(max_examples=300)
@given(POLICY_SETS, WORKLOADS, REQUESTS)
def test_means_what_decide_says(policies: PolicySet, workload: Workload, request: Request) -> None:
    """The verdict is the same for every set and request, and so is the name behind a refusal."""
    verdict = decide(policies, workload, request)
    allowed, name = evaluate(compile_rbac(policies, workload), seen(request))
    assert allowed == verdict.allowed
    assert allowed or name == verdict.rule


@given(POLICY_SETS, WORKLOADS)
def test_same_policies_same_bytes(policies: PolicySet, workload: Workload) -> None:
    """The content's hash can be the version."""
    again = PolicySet(policies=tuple(reversed(policies.policies)))
    assert compile_rbac(policies, workload) == compile_rbac(again, workload)


def test_other_workloads_change_nothing() -> None:
    """A policy that does not hold for the workload is not in its filter."""
    policies = PolicySet(policies=(policy("d", Action.DENY, GET, namespace="other"),))
    assert compile_rbac(policies, WORKLOAD) == compile_rbac(PolicySet(), WORKLOAD)


def test_is_one_named_resource() -> None:
    """One resource, by the name that bootstraps subscribe to, holds ALLOW and DENY."""
    policies = PolicySet(policies=(policy("a", Action.ALLOW, GET), policy("d", Action.DENY, GET)))
    extension = TypedExtensionConfig.FromString(compile_rbac(policies, WORKLOAD))
    rbac = RBAC()
    assert extension.name == "meshca-authz"
    assert extension.typed_config.Unpack(rbac)
    assert sorted(rbac.rules.policies) == ["ns[shop]-policy[d]-rule[0]", NO_RULE_MATCHES]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param((), (True, NO_ALLOW_POLICY), id="no-policy-is-an-explicit-allow"),
        pytest.param((policy("a", Action.ALLOW),), (False, NO_RULE_MATCHES), id="allow-nothing"),
        pytest.param((policy("a", Action.ALLOW, Rule()),), (True, "ns[shop]-policy[a]-rule[0]"), id="everything"),
        pytest.param(
            (policy("a", Action.ALLOW), policy("d", Action.DENY, Rule())),
            (False, "ns[shop]-policy[d]-rule[0]"),
            id="deny-everything",
        ),
    ],
)
def test_ends(policies: tuple[Policy, ...], expected: tuple[bool, str]) -> None:
    """What holds when no step matches has a name too."""
    built = compile_rbac(PolicySet(policies=policies), WORKLOAD)
    assert evaluate(built, seen(request())) == expected


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        pytest.param((), False, id="no-certificate"),
        pytest.param((WEB,), True, id="one-name"),
        pytest.param((WEB, "spiffe://cluster.local/ns/shop/sa/bad"), False, id="one-of-two-names-is-denied"),
    ],
)
def test_names_of_the_peer(names: tuple[str, ...], allowed: bool) -> None:  # noqa: FBT001 - a column of the table
    """A peer without a certificate is nobody, and one with several names is denied by any of them."""
    rules = policy("a", Action.ALLOW, source(principals=("*",)))
    bad = policy("d", Action.DENY, source(principals=("*/sa/bad",)))
    built = compile_rbac(PolicySet(policies=(rules, bad)), WORKLOAD)
    asked = Seen(uris=names, headers={":method": "GET", ":path": "/"})
    assert evaluate(built, asked)[0] is allowed


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("spiffe://clusterxlocal/ns/shop/sa/web", id="dot-of-the-trust-domain"),
        pytest.param("spiffe://evil/cluster.local/ns/shop/sa/web", id="domain-in-the-path"),
        pytest.param("xspiffe://cluster.local/ns/shop/sa/web", id="before-the-scheme"),
        pytest.param("spiffe://cluster.local/ns/shop/sa/web/x", id="longer"),
        pytest.param("spiffe://cluster.local/ns/shop/x/sa/web", id="namespace-with-slash"),
        pytest.param("web.shop.svc", id="not-spiffe"),
    ],
)
def test_namespaces_are_fields_not_text(uri: str) -> None:
    """A namespace matches in its own place of an ID of the own trust domain, nowhere else."""
    built = compile_rbac(
        PolicySet(policies=(policy("a", Action.ALLOW, source(namespaces=("sho*", "*op"))),)), WORKLOAD
    )
    assert evaluate(built, seen(request(), uri)) == (False, NO_RULE_MATCHES)


def test_plain_paths_need_no_expression() -> None:
    """Envoy's limit on regular expressions does not bound the length of plain paths and principals."""
    rules = (
        operation(paths=("/a/*", "/b")),
        source(principals=("cluster.local/ns/shop/sa/web", "cluster.local/*")),
    )
    built = compile_rbac(PolicySet(policies=(policy("a", Action.ALLOW, *rules),)), WORKLOAD)
    rbac = RBAC()
    assert TypedExtensionConfig.FromString(built).typed_config.Unpack(rbac)
    assert "safe_regex" not in str(rbac)
