"""Tests of meshca.admission.decide: what is granted, and how that is explained."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from meshca.admission.decide import RuleReport, check_could_be_granted, decide, explain
from meshca.admission.model import Effect, Grant, Match, Pattern, Rule, RuleSet, Terms
from meshca.admission.parse import parse, shipped
from meshca.errors import Denied
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.key_type import KeyType
from meshca.identity.spiffe_id import SpiffeId, TrustDomain
from tests.admission.rules import OWN, TD, WEB, denial, grant, refuse, rule_set
from tests.fakes.callers import POD, caller

PAYMENTS = SpiffeId(TD, "/ns/shop/sa/payments")
EXAMPLES = Path(__file__).parents[2] / "policies" / "admission"


def test_nobody_gets_anything_without_rules() -> None:
    """Deny by default."""
    error = denial(rule_set(), caller(), WEB)
    assert (error.reason, error.detail) == (
        "no_rule",
        "no rule grants spiffe://cluster.local/ns/shop/sa/web to shop/web",
    )


def test_a_grant_says_what_and_by_which_rule() -> None:
    """The grant carries the identity, the rule's limits and its name."""
    terms = Terms(identities=None, max_lifetime=timedelta(minutes=5), key_types=frozenset({KeyType.EC_P256}))
    assert decide(rule_set(grant("five", terms)), caller(), WEB) == Grant(
        identity=WEB, max_lifetime=timedelta(minutes=5), key_types=frozenset({KeyType.EC_P256}), rule="five"
    )


def test_own_is_nobody_elses() -> None:
    """A caller that has its own identity does not have its neighbour's."""
    assert denial(rule_set(grant()), caller(), PAYMENTS).reason == "no_rule"


def test_listed_identities_are_granted_to_whom_the_rule_matches() -> None:
    """An explicit list may hold other identities than the caller's own, and need not hold its own."""
    rules = rule_set(
        grant("grant", Terms(identities=frozenset({PAYMENTS}), max_lifetime=timedelta(1), key_types=OWN.key_types))
    )
    assert decide(rules, caller(), PAYMENTS).identity == PAYMENTS
    assert denial(rules, caller(), WEB).reason == "no_rule"


def test_the_first_matching_grant_wins() -> None:
    """The order of granting rules is the order of the file."""
    rules = rule_set(grant("other", namespaces="other"), grant("first"), grant("second"))
    assert decide(rules, caller(), WEB).rule == "first"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["before", "after"])
def test_a_refusal_wins_wherever_it_stands(order: Sequence[int]) -> None:
    """The emergency brake does not depend on its place."""
    rules = (grant(), refuse("brake", namespaces="shop"))
    error = denial(rule_set(*(rules[index] for index in order)), caller(), WEB)
    assert (error.reason, error.detail) == (
        "refused_by_rule",
        "rule brake refuses spiffe://cluster.local/ns/shop/sa/web to shop/web",
    )


def test_a_refusal_that_does_not_match_does_nothing() -> None:
    """The brake stops only what it names."""
    assert decide(rule_set(refuse(namespaces="other"), grant()), caller(), WEB).rule == "grant"


def test_a_foreign_trust_domain_is_never_granted() -> None:
    """Whatever the rules say, nothing is issued in another trust domain."""
    foreign = SpiffeId(TrustDomain("other"), WEB.path)
    assert denial(rule_set(grant()), caller(), foreign).reason == "foreign_trust_domain"


CERTIFICATE = caller(proven_by=ProvenBy.CLIENT_CERT, serial="7a")
ROWS = {
    "issuer": ({"issuers": "home"}, caller(), True),
    "issuer, another": ({"issuers": "home"}, caller(issuer="west"), False),
    "namespace": ({"namespaces": "sh*"}, caller(), True),
    "namespace, another": ({"namespaces": "test-*"}, caller(), False),
    "service account": ({"service_accounts": "web"}, caller(), True),
    "service account, another": ({"service_accounts": "api"}, caller(), False),
    "proof": ({"proven_by": "client_cert"}, CERTIFICATE, True),
    "proof, another": ({"proven_by": "client_cert"}, caller(), False),
    "pod": ({"pods": "web-*"}, caller(), True),
    "pod, another": ({"pods": "api-*"}, caller(), False),
    "pod, none": ({"pods": "*"}, caller(pod=None), False),
    "pod uid": ({"pod_uids": POD.uid}, caller(), True),
    "pod uid, made again": ({"pod_uids": POD.uid}, caller(pod=BoundObject(name=POD.name, uid="x")), False),
    "serial": ({"serials": "7a"}, CERTIFICATE, True),
    "serial, another": ({"serials": "7b"}, CERTIFICATE, False),
    "serial, none": ({"serials": "7a"}, caller(), False),
    "token id": ({"token_ids": "a3b1"}, caller(), True),
    "token id, of the whole chain": ({"token_ids": "a3b1"}, CERTIFICATE, True),
    "token id, another": ({"token_ids": "a3b2"}, caller(), False),
    "identity": ({"identities": "*/sa/web"}, caller(), True),
    "identity, another": ({"identities": "*/sa/api"}, caller(), False),
    "two keys": ({"namespaces": "shop", "issuers": "home"}, caller(), True),
    "two keys, one wrong": ({"namespaces": "shop", "issuers": "west"}, caller(), False),
}


@pytest.mark.parametrize(("match", "who", "matches"), ROWS.values(), ids=ROWS)
def test_each_key_of_a_match(match: dict[str, str], who: Caller, *, matches: bool) -> None:
    """Every key must match; the refusing and the granting rule with the same match agree."""
    if matches:
        assert decide(rule_set(grant(**match)), who, WEB).rule == "grant"
        assert denial(rule_set(refuse(**match), grant()), who, WEB).reason == "refused_by_rule"
    else:
        assert denial(rule_set(grant(**match)), who, WEB).reason == "no_rule"
        assert decide(rule_set(refuse(**match), grant()), who, WEB).rule == "grant"


@pytest.mark.parametrize(
    ("wanted", "pod", "granted"),
    [(True, POD, True), (True, None, False), (False, POD, False), (False, None, True)],
    ids=["bound wanted and is", "bound wanted and is not", "unbound wanted but is bound", "unbound wanted and is"],
)
def test_pod_bound(wanted: bool, pod: BoundObject | None, granted: bool) -> None:  # noqa: FBT001 - rows
    """A rule may ask for a proof that is bound to a pod, or for one that is not."""
    rules = rule_set(Rule(name="r", match=Match(pod_bound=wanted), terms=OWN))
    assert isinstance(explain(rules, caller(pod=pod), WEB).outcome, Grant) is granted


def test_one_pattern_of_a_key_is_enough() -> None:
    """Within a list any entry will do."""
    match = Match(patterns=(("namespaces", (Pattern("a"), Pattern("shop"))),))
    assert decide(rule_set(Rule(name="r", match=match, terms=OWN)), caller(), WEB).rule == "r"


def test_an_explanation_says_why_each_rule_did_not_match() -> None:
    """Every key that fails is named, with what was seen and what was expected."""
    rules = rule_set(
        refuse("brake", pods="x", namespaces="other"),
        Rule(name="unbound", match=Match(pod_bound=False), terms=OWN),
        grant("mine"),
        Rule(name="late", match=Match(pod_bound=True), terms=OWN),
    )
    explanation = explain(rules, caller(), WEB)
    assert isinstance(explanation.outcome, Grant)
    assert explanation.reports == (
        RuleReport(
            name="brake",
            effect=Effect.REFUSE,
            mismatches=(f"pods: {POD.name} is none of x", "namespaces: shop is none of other"),
            decided=False,
        ),
        RuleReport(
            name="unbound",
            effect=Effect.GRANT,
            mismatches=("pod_bound: the proof is bound to a pod",),
            decided=False,
        ),
        RuleReport(name="mine", effect=Effect.GRANT, mismatches=(), decided=True),
        RuleReport(name="late", effect=Effect.GRANT, mismatches=(), decided=False),
    )


def test_an_explanation_names_the_refusing_rule() -> None:
    """The brake that decided is marked, not the grant that it overruled."""
    explanation = explain(rule_set(grant(), refuse("a", namespaces="x"), refuse("b"), refuse("c")), caller(), WEB)
    assert isinstance(explanation.outcome, Denied)
    assert [report.name for report in explanation.reports if report.decided] == ["b"]


def test_an_explanation_of_what_nobody_grants() -> None:
    """Without a deciding rule none is marked, and each says why."""
    others = Terms(identities=frozenset({PAYMENTS}), max_lifetime=timedelta(1), key_types=OWN.key_types)
    rules = rule_set(
        grant("own"), grant("listed", others), Rule(name="bound", match=Match(pod_bound=True), terms=OWN)
    )
    wanted = SpiffeId(TD, "/ns/other/sa/x")
    explanation = explain(rules, caller(pod=None), wanted)
    assert not any(report.decided for report in explanation.reports)
    assert [report.mismatches for report in explanation.reports] == [
        (f"grant.identity: {wanted} is not the caller's own {WEB}",),
        (f"grant.identity: {wanted} is none of {PAYMENTS}",),
        (
            "pod_bound: the proof is not bound to a pod",
            f"grant.identity: {wanted} is not the caller's own {WEB}",
        ),
    ]


def test_a_missing_pod_is_named() -> None:
    """What the caller does not have is said as such."""
    (report,) = explain(rule_set(refuse(pods="*")), caller(pod=None), WEB).reports
    assert report.mismatches == ("pods: the caller has none",)


LISTED = Terms(identities=frozenset({PAYMENTS}), max_lifetime=timedelta(1), key_types=OWN.key_types)
COULD = {
    "nothing": (rule_set(), caller(), False),
    "its issuer": (rule_set(grant(issuers="home")), caller(), True),
    "another issuer": (rule_set(grant(issuers="west")), caller(), False),
    "another namespace": (rule_set(grant(namespaces="bank")), caller(), False),
    "another account": (rule_set(grant(service_accounts="api")), caller(), False),
    "another identity": (rule_set(grant(identities="*/sa/api")), caller(), False),
    "not its own": (rule_set(grant("listed", LISTED)), caller(), False),
    "the second rule": (rule_set(grant("west", issuers="west"), grant("home", issuers="home")), caller(), True),
    "by a token only": (rule_set(grant(proven_by="jwks")), CERTIFICATE, True),
    "another pod": (rule_set(grant(pods="api-*", pod_uids="x")), caller(), True),
    "another certificate": (rule_set(grant(serials="7b")), caller(), True),
    "another token": (rule_set(grant(token_ids="x")), caller(), True),
    "unbound": (rule_set(Rule(name="a", match=Match(pod_bound=True), terms=OWN)), caller(pod=None), True),
    "braked": (rule_set(refuse(), grant()), caller(), True),
    "only refused": (rule_set(refuse()), caller(), False),
    "shipped, home": (shipped(TD), CERTIFICATE, True),
    "shipped, west": (shipped(TD), caller(issuer="west"), False),
}


@pytest.mark.parametrize(("rules", "who", "passes"), COULD.values(), ids=COULD)
def test_what_could_be_granted(rules: RuleSet, who: Caller, passes: bool) -> None:  # noqa: FBT001 - a row
    """Issuer, account and identity count; a brake, the pod and the kind of proof do not."""
    refused = contextlib.nullcontext() if passes else pytest.raises(Denied, match="no_rule")
    with refused:
        check_could_be_granted(rules, who, WEB)


def test_a_foreign_trust_domain_could_not_be_granted() -> None:
    """Nor does anybody act as an identity of it."""
    with pytest.raises(Denied, match="foreign_trust_domain"):
        check_could_be_granted(rule_set(grant()), caller(), SpiffeId(TrustDomain("other"), WEB.path))


class TestShipped:
    """The rules that hold when there is no file."""

    RULES = shipped(TD)

    @pytest.mark.parametrize("who", [caller(), CERTIFICATE], ids=["token", "renewal"])
    def test_a_pod_has_its_own_identity(self, who: Caller) -> None:
        """By its token or by renewal."""
        assert decide(self.RULES, who, WEB).identity == WEB

    @pytest.mark.parametrize(
        ("who", "wanted"),
        [(caller(pod=None), WEB), (caller(issuer="west"), WEB), (caller(), PAYMENTS)],
        ids=["unbound", "another issuer", "another identity"],
    )
    def test_everything_else_is_denied(self, who: Caller, wanted: SpiffeId) -> None:
        """An unbound token, an issuer that nobody named, an identity of somebody else."""
        assert denial(self.RULES, who, wanted).reason == "no_rule"


@pytest.mark.parametrize(
    ("file", "who", "outcome"),
    [
        ("emergency-brake", caller(name="payments"), "refused_by_rule"),
        ("emergency-brake", caller(pod=BoundObject(name="web-canary-1", uid="x")), "refused_by_rule"),
        (
            "emergency-brake",
            caller(pod=BoundObject(name="w", uid="3f0f4d55-0c86-4c76-9d5b-0a3c4d1e8f11")),
            "refused_by_rule",
        ),
        (
            "emergency-brake",
            caller(proven_by=ProvenBy.CLIENT_CERT, serial="7a31c5d9e80b4f6612d3c4a5b6978801"),
            "refused_by_rule",
        ),
        ("emergency-brake", caller(token_id="0d8c1c5e-6f9d-4a37-b6f3-2f4b8a3f1c11"), "refused_by_rule"),
        ("emergency-brake", caller(), "own-identity-of-a-pod"),
        ("two-clusters", caller(issuer="east"), "home-has-all-but-the-partners"),
        ("two-clusters", caller(issuer="west"), "no_rule"),
        ("two-clusters", caller("partner-a", issuer="west"), "west-has-the-partners"),
        ("two-clusters", caller("partner-a"), "no_rule"),
        ("remote-cluster", caller(), "home-has-every-namespace"),
        ("remote-cluster", caller(proven_by=ProvenBy.NODE_PROXY), "home-has-every-namespace"),
        ("remote-cluster", caller("partner-a", issuer="west"), "west-has-the-partners"),
        ("remote-cluster", caller("shared", issuer="west"), "west-has-the-partners"),
        ("remote-cluster", caller("partner-a", issuer="west", proven_by=ProvenBy.NODE_PROXY), "refused_by_rule"),
        ("remote-cluster", caller("partner-a", issuer="west", pod=None), "no_rule"),
        ("remote-cluster", caller(issuer="west"), "no_rule"),
        ("remote-cluster", caller("istio-system", issuer="west"), "no_rule"),
        ("remote-cluster", caller("partner-a", issuer="east"), "no_rule"),
        ("virtual-machines", caller("machines", "billing", pod=None), "machines"),
        ("virtual-machines", caller("machines", "billing"), "refused_by_rule"),
        ("virtual-machines", caller("machines", "other", pod=None), "no_rule"),
        ("virtual-machines", caller(), "own-identity-of-a-pod"),
    ],
)
def test_what_the_examples_do(file: str, who: Caller, outcome: str) -> None:
    """Each example decides as its comments say."""
    rules = parse((EXAMPLES / f"{file}.yaml").read_text(), file, TD)
    found = explain(rules, who, who.identity(TD)).outcome
    assert (found.rule if isinstance(found, Grant) else found.reason) == outcome
