"""No set of policies comes into force that some agent would refuse for its size."""

from __future__ import annotations

import pytest
from hypothesis import given

from meshca.authz import fits
from meshca.authz.compile import compile_rbac
from meshca.authz.fits import check_fits
from meshca.authz.model import Action, Operation, Policy, PolicySet, Rule, Source, Workload
from meshca.authz.pattern import Match, Pattern
from meshca.errors import ConfigError
from meshca.identity.spiffe_id import TrustDomain
from tests.authz.strategies import POLICY_SETS, WORKLOADS

DOMAIN = TrustDomain("cluster.local")
MEGABYTE = 1024 * 1024


def policy(*texts: str, namespace: str = "shop", name: str = "p", labels: dict[str, str] | None = None) -> Policy:
    """A policy that names these paths."""
    paths = tuple(Pattern(Match.EXACT, text) for text in texts)
    return Policy(
        namespace=namespace,
        name=name,
        selector=labels or {},
        rules=(Rule(operations=(Operation(paths=paths),)),),
    )


def refused(*policies: Policy) -> tuple[str, ...]:
    """What is said against a set."""
    with pytest.raises(ConfigError) as caught:
        check_fits(PolicySet(policies=policies), DOMAIN)
    return caught.value.problems


def test_small_sets_fit() -> None:
    """Nothing is said, and no policy at all fits as well."""
    check_fits(PolicySet(), DOMAIN)
    check_fits(PolicySet(policies=(policy("/a"),)), DOMAIN)


def test_large_but_fitting() -> None:
    """A set that only looks too large is compiled, and taken."""
    check_fits(PolicySet(policies=(policy(*("/" + "x" * 1000 for _ in range(1000))),)), DOMAIN)


def test_too_large() -> None:
    """The namespace is named, with the size."""
    (problem,) = refused(policy("/" + "x" * 3 * MEGABYTE))
    assert problem.startswith("namespace shop: its policies come to 3")


def test_different_labels_count_together() -> None:
    """A workload may have the labels of every selector."""
    one, two = (policy("/" + "x" * 1200 * 1024, name=name, labels={name: "x"}) for name in "ab")
    assert len(refused(one, two)) == 1


def test_the_root_namespaces_count_everywhere() -> None:
    """They hold in every namespace beside its own."""
    root = policy("/" + "x" * 1200 * 1024, namespace="istio-system")
    own = policy("/" + "y" * 1200 * 1024)
    assert [problem.split(":")[0] for problem in refused(root, own)] == ["namespace shop"]


def test_a_rule_that_matches_everything_hides_nothing() -> None:
    """It may hold for some workloads only, and the filters of the others are as long as ever."""
    short = Policy(namespace="shop", name="a", selector={"app": "web"}, rules=(Rule(),))
    assert len(refused(short, policy("/" + "x" * 3 * MEGABYTE))) == 1


def test_namespaces_alone() -> None:
    """What holds in different namespaces is not added."""
    check_fits(
        PolicySet(policies=tuple(policy("/" + "x" * 1200 * 1024, namespace=name) for name in ("shop", "pay"))),
        DOMAIN,
    )


def test_every_kind_of_value_counts() -> None:
    """Callers and methods as well as paths."""
    long = (Pattern(Match.EXACT, "x" * MEGABYTE),)
    source, operation = Source(principals=long, namespaces=long), Operation(methods=long)
    whole = Policy(
        namespace="shop", name="p", action=Action.DENY, rules=(Rule(sources=(source,), operations=(operation,)),)
    )
    assert len(refused(whole)) == 1


@given(POLICY_SETS, WORKLOADS)
def test_the_estimate_is_never_too_small(policies: PolicySet, workload: Workload) -> None:
    """What is taken without being compiled is no larger than estimated, whatever its values."""
    longest = sum(
        fits._OVERHEAD + fits._GROWTH * len(text.encode())
        for each in policies.policies
        for text in fits._texts(each)
    )
    empty = len(compile_rbac(PolicySet(), workload))
    assert len(compile_rbac(policies, workload)) <= longest + empty + 512
