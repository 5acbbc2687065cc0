"""Whether the filter of every workload fits into what agents take, before a set of policies comes into force.

A filter that is too large would be refused by each agent of its namespace, together with the stream that brings
their roots. Only sets whose text could become too large are compiled for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from meshca.authz.compile import compile_rbac
from meshca.authz.model import Policy, PolicySet, Workload
from meshca.authz.parse import SOURCE
from meshca.config.resource_names import LARGEST_POLICIES
from meshca.errors import ConfigError
from meshca.identity.caller import NO_LABELS
from meshca.identity.spiffe_id import TrustDomain

# The most that a character of a value becomes in an expression of `authz.path`, and a value beside its text.
_GROWTH: Final = 32
_OVERHEAD: Final = 512


def check_fits(policies: PolicySet, trust_domain: TrustDomain) -> None:
    """Refuse a set that is too large for any workload, whatever its labels.

    Raises:
        ConfigError: with a line for each namespace.
    """
    root = policies.root_namespace
    longest: dict[str, list[Policy]] = {}
    for policy in policies.policies:
        longest.setdefault(policy.namespace, []).append(_longest(policy))
    everywhere = longest.pop(root, [])
    problems = []
    for namespace, own in sorted(longest.items()) or [(root, [])]:
        holding = (*own, *everywhere)
        if _surely(holding):
            continue
        workload = Workload(namespace=namespace, trust_domain=trust_domain)
        size = len(compile_rbac(PolicySet(policies=holding, root_namespace=root), workload))
        if size > LARGEST_POLICIES:
            problems.append(
                f"namespace {namespace}: its policies come to {size} bytes for one Envoy, at most"
                f" {LARGEST_POLICIES}; use fewer or shorter values"
            )
    if problems:
        raise ConfigError(SOURCE, problems)


def _longest(policy: Policy) -> Policy:
    """The policy without what could shorten some workload's filter: a selector, a rule that matches everything."""
    rules = tuple(rule for rule in policy.rules if rule.sources or rule.operations)
    return replace(policy, selector=NO_LABELS, rules=rules)


def _surely(policies: Iterable[Policy]) -> bool:
    """Whether even the longest form of every value fits."""
    longest = sum(_OVERHEAD + _GROWTH * len(text.encode()) for policy in policies for text in _texts(policy))
    return longest <= LARGEST_POLICIES


def _texts(policy: Policy) -> Iterator[str]:
    """Every text of a policy, and one for the rule around it."""
    for rule in policy.rules:
        yield policy.namespace + policy.name
        for source in rule.sources:
            yield from (item.text for item in (*source.principals, *source.namespaces))
        for operation in rule.operations:
            yield from (item.text for item in (*operation.methods, *operation.paths))
