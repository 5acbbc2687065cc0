"""Laws of admission: what holds whatever the rules and the caller are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from meshca.admission.decide import check_could_be_granted, decide, decide_for_workload, explain
from meshca.admission.model import SEEN, Effect, Grant, Match, Pattern, Rule, RuleSet, Terms
from meshca.errors import Denied
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId
from tests.admission.rules import TD, denial, refuse, rule_set
from tests.fakes.callers import caller

NAMES = st.sampled_from(["a", "b", "a-b"])
PATTERNS = st.sampled_from(["a", "b", "a*", "*b", "*", "jwks"]).map(Pattern)
MATCHES = st.builds(
    Match,
    patterns=st.dictionaries(st.sampled_from(sorted(SEEN)), st.tuples(PATTERNS), max_size=3).map(
        lambda keys: tuple(keys.items())
    ),
    pod_bound=st.none() | st.booleans(),
)
IDENTITIES = st.builds(lambda ns, sa: SpiffeId(TD, f"/ns/{ns}/sa/{sa}"), NAMES, NAMES)
TERMS = st.builds(
    Terms,
    identities=st.none() | st.frozensets(IDENTITIES, min_size=1, max_size=2),
    max_lifetime=st.just(timedelta(hours=1)),
    key_types=st.just(frozenset(KeyType)),
)
RULES = st.lists(
    st.builds(Rule, name=st.uuids().map(str), match=MATCHES, terms=st.none() | TERMS), max_size=5
).map(lambda rules: rule_set(*rules))
CALLERS = st.builds(
    caller,
    namespace=NAMES,
    name=NAMES,
    issuer=NAMES,
    proven_by=st.sampled_from(ProvenBy),
    pod=st.none() | st.builds(BoundObject, name=NAMES, uid=NAMES),
    serial=st.sampled_from(["", "a"]),
)


@given(RULES, CALLERS, IDENTITIES)
def test_explaining_never_decides_otherwise(rules: RuleSet, who: Caller, wanted: SpiffeId) -> None:
    """`explain` has the outcome of `decide`; its reports agree with it."""
    explanation = explain(rules, who, wanted)
    matched = [report for report in explanation.reports if not report.mismatches]
    refused = [report for report in matched if report.effect is Effect.REFUSE]
    decided = [report for report in explanation.reports if report.decided]
    if isinstance(explanation.outcome, Grant):
        assert decide(rules, who, wanted) == explanation.outcome
        assert not refused
        assert decided == matched[:1]
        assert explanation.outcome.identity == wanted
    else:
        assert str(denial(rules, who, wanted)) == str(explanation.outcome)
        assert decided == refused[:1]
        assert bool(refused) == bool(matched)


@given(RULES, CALLERS, IDENTITIES, MATCHES)
def test_another_refusal_never_grants_more(rules: RuleSet, who: Caller, wanted: SpiffeId, match: Match) -> None:
    """Adding a refusing rule anywhere turns grants into denials and never the other way."""
    brake = Rule(name="brake", match=match, terms=None)
    more = rule_set(brake, *rules.rules)
    if isinstance(explain(more, who, wanted).outcome, Grant):
        assert explain(more, who, wanted).outcome == explain(rules, who, wanted).outcome


@given(RULES, CALLERS, IDENTITIES)
def test_what_is_granted_could_be_granted(rules: RuleSet, who: Caller, wanted: SpiffeId) -> None:
    """Who has an identity is never kept from acting as it, whatever refusing rules come."""
    if isinstance(explain(rules, who, wanted).outcome, Grant):
        check_could_be_granted(rules, who, wanted)
        check_could_be_granted(rule_set(refuse("brake"), *rules.rules), who, wanted)


@given(RULES, CALLERS, st.lists(CALLERS, min_size=1, max_size=3))
def test_a_proxy_gets_no_more_than_the_workload(rules: RuleSet, proxy: Caller, pods: list[Caller]) -> None:
    """What is granted for a workload each of its pods would be granted itself, and no rule refuses the proxy."""
    workloads = [replace(pod, account=pods[0].account) for pod in pods]
    wanted = workloads[0].identity(TD)
    try:
        given = decide_for_workload(rules, proxy, workloads)
    except Denied:
        return
    for workload in workloads:
        own = decide(rules, workload, wanted)
        assert (given.identity, own.identity) == (wanted, wanted)
        assert given.max_lifetime <= own.max_lifetime
        assert given.key_types <= own.key_types
    refusing = rule_set(*(rule for rule in rules.rules if rule.terms is None))
    assert denial(refusing, proxy, wanted).reason == "no_rule"
