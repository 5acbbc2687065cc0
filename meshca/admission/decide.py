"""Who may be issued what: the decision over a rule set, pure.

A refusing rule that matches wins, wherever it stands (the emergency brake); then the first granting rule that
matches; otherwise nobody gets anything. `explain` is for people and never decides on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meshca.admission.model import SEEN, Effect, Grant, Match, Rule, RuleSet
from meshca.errors import Denied
from meshca.identity.caller import Caller
from meshca.identity.spiffe_id import SpiffeId

# keys of a match that stay the same however, and from whichever pod, an account proves itself
LASTING: Final = frozenset({"issuers", "namespaces", "service_accounts", "identities"})


def decide(rules: RuleSet, caller: Caller, wanted: SpiffeId) -> Grant:
    """What a caller may be issued when it wants an identity.

    Args:
        rules: the rules in force.
        caller: who asks, proven.
        wanted: the identity that the certificate would carry.

    Raises:
        Denied: reason `foreign_trust_domain`, `refused_by_rule` or `no_rule`.
    """
    _check_trust_domain(rules, wanted)
    _check_not_refused(rules, caller, wanted)
    for rule in rules.rules:
        if rule.terms is not None and _matches(rule, caller, wanted):
            return Grant(
                identity=wanted,
                max_lifetime=rule.terms.max_lifetime,
                key_types=rule.terms.key_types,
                rule=rule.name,
            )
    raise Denied("no_rule", f"no rule grants {wanted} to {caller.account}")


def decide_for_workload(rules: RuleSet, proxy: Caller, workloads: Sequence[Caller]) -> Grant:
    """What a node proxy may be issued for a workload of its node.

    The workload's own rules decide, as if it asked itself. No refusing rule may match the proxy either, neither
    for its own identity nor for the one that it asks for. The proxy holds one key for all pods of the account on
    its node, so each of them must be granted: the shortest lifetime counts, and the key types common to all.

    Args:
        rules: the rules in force.
        proxy: who asks, proven.
        workloads: for whom: the pods of one account on its node, at least one.

    Raises:
        Denied: as `decide`.
    """
    wanted = workloads[0].identity(rules.trust_domain)
    for identity in (proxy.identity(rules.trust_domain), wanted):
        _check_not_refused(rules, proxy, identity)
    grants = [decide(rules, workload, wanted) for workload in workloads]
    shortest = min(grants, key=lambda grant: grant.max_lifetime)
    return replace(shortest, key_types=frozenset.intersection(*(grant.key_types for grant in grants)))


def check_could_be_granted(rules: RuleSet, caller: Caller, wanted: SpiffeId) -> None:
    """That a granting rule is about this issuer, account and identity: what `decide` grants to nobody else.

    Not checked: refusing rules, how the caller is proven, its pod, token and certificate. A workload that is
    braked, or that must show its token, passes; a cluster that no rule lets speak for this identity does not.

    Args:
        rules: the rules in force.
        caller: who asks, proven.
        wanted: the identity that it acts as.

    Raises:
        Denied: reason `foreign_trust_domain` or `no_rule`.
    """
    _check_trust_domain(rules, wanted)
    granting = (rule for rule in rules.rules if rule.terms is not None)
    if not any(_matches(_lasting(rule), caller, wanted) for rule in granting):
        raise Denied("no_rule", f"no rule could grant {wanted} to {caller.account} of issuer {caller.issuer}")


def _lasting(rule: Rule) -> Rule:
    kept = tuple((key, patterns) for key, patterns in rule.match.patterns if key in LASTING)
    return replace(rule, match=Match(patterns=kept))


def _check_trust_domain(rules: RuleSet, wanted: SpiffeId) -> None:
    if wanted.trust_domain != rules.trust_domain:
        raise Denied("foreign_trust_domain", f"only identities of {rules.trust_domain} are issued")


def _check_not_refused(rules: RuleSet, caller: Caller, wanted: SpiffeId) -> None:
    for rule in rules.rules:
        if rule.terms is None and _matches(rule, caller, wanted):
            raise Denied("refused_by_rule", f"rule {rule.name} refuses {wanted} to {caller.account}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """How one rule looked at a caller.

    Attributes:
        name: the rule's name.
        effect: what it would do.
        mismatches: why it did not match; empty when it did.
        decided: whether it is the one that decided.
    """

    name: str
    effect: Effect
    mismatches: tuple[str, ...]
    decided: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and how each rule looked at it.

    Attributes:
        outcome: the grant, or the error that `decide` raises.
        reports: one for each rule, in the order of the file.
    """

    outcome: Grant | Denied
    reports: tuple[RuleReport, ...]


def explain(rules: RuleSet, caller: Caller, wanted: SpiffeId) -> Explanation:
    """The decision, with every rule's view of it."""
    outcome: Grant | Denied
    try:
        outcome = decide(rules, caller, wanted)
    except Denied as error:
        outcome = error
    views = [(rule, tuple(_mismatches(rule, caller, wanted))) for rule in rules.rules]
    decider = _decider(outcome, views)
    return Explanation(
        outcome=outcome,
        reports=tuple(
            RuleReport(name=rule.name, effect=rule.effect, mismatches=why, decided=rule.name == decider)
            for rule, why in views
        ),
    )


def _decider(outcome: Grant | Denied, views: list[tuple[Rule, tuple[str, ...]]]) -> str:
    if isinstance(outcome, Grant):
        return outcome.rule
    if outcome.reason != "refused_by_rule":
        return ""
    return next(rule.name for rule, why in views if rule.effect is Effect.REFUSE and not why)


def _matches(rule: Rule, caller: Caller, wanted: SpiffeId) -> bool:
    return next(_mismatches(rule, caller, wanted), None) is None


def _mismatches(rule: Rule, caller: Caller, wanted: SpiffeId) -> Iterator[str]:
    """Why a rule does not match, one line for each key, lazily: the first is enough to decide."""
    for key, patterns in rule.match.patterns:
        value = SEEN[key](caller, wanted)
        if value is None:
            yield f"{key}: the caller has none"
        elif not any(pattern.matches(value) for pattern in patterns):
            yield f"{key}: {value} is none of {', '.join(map(str, patterns))}"
    if rule.match.pod_bound is not None and rule.match.pod_bound != (caller.pod is not None):
        yield f"pod_bound: the proof is {'not ' if caller.pod is None else ''}bound to a pod"
    if rule.terms is not None:
        yield from _outside(rule.terms.identities, caller, wanted)


def _outside(identities: frozenset[SpiffeId] | None, caller: Caller, wanted: SpiffeId) -> Iterator[str]:
    if identities is None:
        if wanted != (own := caller.identity(wanted.trust_domain)):
            yield f"grant.identity: {wanted} is not the caller's own {own}"
    elif wanted not in identities:
        yield f"grant.identity: {wanted} is none of {', '.join(sorted(map(str, identities)))}"
