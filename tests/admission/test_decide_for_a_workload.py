"""What a node proxy is issued for a workload of its node."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.admission.decide import decide, decide_for_workload
from meshca.admission.model import Grant, RuleSet, Terms
from meshca.errors import Denied
from meshca.identity.caller import BoundObject, Caller, ProvenBy
from meshca.identity.key_type import KeyType
from tests.admission.rules import WEB, grant, refuse, rule_set
from tests.fakes.callers import caller


class TestForAWorkload:
    """What a node proxy is issued for a workload of its node."""

    PROXY = caller("istio-system", "ztunnel", proven_by=ProvenBy.TOKEN_REVIEW)
    POD = caller(proven_by=ProvenBy.NODE_PROXY)

    def denied(self, rules: RuleSet, *workloads: Caller) -> str:
        """The reason of a denial."""
        with pytest.raises(Denied) as caught:
            decide_for_workload(rules, self.PROXY, workloads or (self.POD,))
        return caught.value.reason

    def test_the_workloads_rules_decide(self) -> None:
        """Its identity, under the rule that it would have itself; the proxy needs none of its own."""
        rules = rule_set(grant("web", namespaces="shop"))
        assert decide_for_workload(rules, self.PROXY, [self.POD]) == decide(rules, self.POD, WEB)
        assert self.denied(rule_set(grant(namespaces="istio-system"))) == "no_rule"

    @pytest.mark.parametrize(
        "match",
        [
            {"identities": str(WEB)},
            {"namespaces": "shop"},
            {"proven_by": "node_proxy"},
            {"service_accounts": "ztunnel"},
            {"proven_by": "token_review"},
            {"identities": "spiffe://cluster.local/ns/istio-system/sa/ztunnel"},
        ],
        ids=["identity", "workload", "by proxies", "proxy", "proxy's proof", "proxy's identity"],
    )
    def test_the_brake_bites_for_both(self, match: dict[str, str]) -> None:
        """A refusing rule that matches the workload or its proxy stops it."""
        assert self.denied(rule_set(grant(), refuse(**match))) == "refused_by_rule"

    def test_one_refused_pod(self) -> None:
        """Its proxy has one key for all pods of the account, so a refused pod stops them all."""
        bad = caller(proven_by=ProvenBy.NODE_PROXY, pod=BoundObject(name="bad", uid="x"))
        rules = rule_set(grant(), refuse(pods="bad"))
        assert self.denied(rules, self.POD, bad) == "refused_by_rule"
        assert decide_for_workload(rules, self.PROXY, [self.POD]).rule == "grant"

    def test_the_strictest_counts(self) -> None:
        """Where pods of the account are granted different things, the shortest life and the common key types."""
        curves = frozenset({KeyType.EC_P256, KeyType.EC_P384})
        short = Terms(identities=None, max_lifetime=timedelta(minutes=5), key_types=curves)
        long = Terms(identities=None, max_lifetime=timedelta(hours=1), key_types=frozenset({KeyType.EC_P256}))
        other = caller(proven_by=ProvenBy.NODE_PROXY, pod=BoundObject(name="old", uid="x"))
        rules = rule_set(grant("short", short, pods="old"), grant("long", long))
        assert decide_for_workload(rules, self.PROXY, [self.POD, other]) == Grant(
            identity=WEB,
            max_lifetime=timedelta(minutes=5),
            key_types=frozenset({KeyType.EC_P256}),
            rule="short",
        )
